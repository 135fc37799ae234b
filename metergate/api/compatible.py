"""The paths of older systems, for those who move: the same answers, and the key still says who asks."""

from collections.abc import Mapping

from metergate.api.endpoints import Answer
from metergate.core.older_paths import BILLING, OLDER


def paths(root: str, answers: Mapping[tuple[str, str], Answer]) -> list[tuple[str, str, Answer]]:
    """The older paths, with the answers of those under `root`."""
    named = [(*older, answers[method, root + path]) for older, (method, path) in OLDER.items()]
    alike = [(method, BILLING + path.removeprefix(root), each) for (method, path), each in answers.items()]
    return [*named, *alike]
