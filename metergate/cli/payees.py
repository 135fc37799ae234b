"""What `metergate doctor` asks of payment providers: keys, modes, webhook secrets, and who we are there."""

import asyncio
import re
from collections.abc import Iterator, Sequence
from typing import Final
from urllib.parse import urlsplit

from metergate import money_in
from metergate.billing import Opened
from metergate.cli.findings import Finding
from metergate.config.settings import Settings
from metergate.core.outgoing import LOOPBACK
from metergate.core.policy import Policy, ProviderChoice
from metergate.errors import MetergateError
from metergate.foundation import now_us
from metergate.provider_port import Examined, Feed, Lookups, Webhooks
from metergate.testing.notes import NotesInMemory

PATIENCE_S: Final = 30.0
MODE: Final = re.compile(r"(?:sk|pk|rk)_(test|live)_\S*")
"""Keys that say themselves what they are for."""


def of_providers(policy: Policy, settings: Settings) -> Iterator[Finding]:
    choices = money_in.choices_of(policy, settings)
    opened: list[Opened] = []
    for choice in choices:
        yield from _keys(choice, settings)
        try:
            opened.append(money_in.opened(choice, policy, settings, now_us, NotesInMemory()))
        except MetergateError as error:
            yield Finding(False, str(error))
    if opened:
        yield from _modes(opened, policy, settings)
        yield from asyncio.run(_asked(opened, policy, settings))


def _keys(choice: ProviderChoice, settings: Settings) -> Iterator[Finding]:
    """A test key beside a live one, of one provider: what one of them makes, the other does not see."""
    prefix = f"{choice.use.upper()}_"
    told = {**settings.environ, **choice.settings}
    found = {name: match[1] for name, text in told.items() if (match := MODE.fullmatch(text.strip()))}
    own = {name: mode for name, mode in sorted(found.items()) if name.startswith(prefix)}
    if len(set(own.values())) > 1:
        listed = ", ".join(f"{name} is for {mode} mode" for name, mode in own.items())
        yield Finding(False, f"The keys of {choice.name} are of two modes: {listed}. Use those of one.")


def _modes(opened: Sequence[Opened], policy: Policy, settings: Settings) -> Iterator[Finding]:
    live = ", ".join(each.name for each in opened if each.provider.live)
    test = ", ".join(each.name for each in opened if not each.provider.live)
    if live and test:
        yield Finding(
            False, f"{live} moves real money and {test} does not: use one mode in a policy, live or test."
        )
    if test and policy.environment == "live" and _public(settings.public_url):
        told = f"{test} moves no real money, and a test card pays for live keys at {settings.public_url}."
        yield Finding(True, told, mind=True)
    if live and policy.environment == "test":
        told = f"{live} moves real money for a service of test keys: set `environment: live` in the policy."
        yield Finding(True, told, mind=True)


def _public(url: str) -> bool:
    return bool(url) and urlsplit(url).hostname not in LOOPBACK


async def _asked(opened: Sequence[Opened], policy: Policy, settings: Settings) -> list[Finding]:
    found: list[Finding] = []
    for each in opened:
        try:
            async with asyncio.timeout(PATIENCE_S):
                found += await _one(each, money_in.webhook_url(each.name, policy, settings))
        except TimeoutError:
            found.append(Finding(False, f"{each.name} did not answer within {PATIENCE_S:.0f} seconds."))
        finally:
            await each.provider.close()
    return found


def _unheard(opened: Opened) -> Finding:
    cannot = f"{opened.name} cannot tell of payments: set METERGATE_PUBLIC_URL"
    if isinstance(opened.provider, (Lookups, Feed)):
        return Finding(True, f"{cannot}, and until then they are found by asking.", mind=True)
    return Finding(
        False, f"{cannot}, for it cannot be asked for them either, and what is paid is not credited."
    )


async def _one(opened: Opened, webhook_url: str) -> list[Finding]:
    provider = opened.provider
    health = await provider.health()
    if not health.ok:
        return [Finding(False, f"The payment provider {opened.name} cannot be used: {health.detail}")]
    found = [Finding(True, f"The payment provider {opened.name} answers: {health.detail or 'ok'}.")]
    if isinstance(provider, Webhooks) and not webhook_url:
        found.append(_unheard(opened))
    if not isinstance(provider, Examined):
        return found
    try:
        wrong = await provider.examine()
    except MetergateError as error:  # such as a key that may not look at this
        wrong = [f"{opened.name} does not say how it is set up. {error}"]
    return [*found, *(Finding(False, sentence) for sentence in wrong)]
