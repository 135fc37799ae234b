"""While the house is being built: a test waits for its subject. Delete this file when everything is there."""

from tests.house.rules import ROOT

WAITING_FOR = {
    "test_documented.py": ("metergate/cli/__init__.py", "README.md"),
    "test_policies.py": ("metergate/config/schema.py", "policies/policy-v1.schema.json"),
    "test_wheel.py": ("metergate/ledger/migrations/env.py", "policies/starter.yaml", "README.md"),
    "test_front_door.py": ("metergate/bootstrap.py",),
}

collect_ignore = [
    test
    for test, subjects in WAITING_FOR.items()
    if not all((ROOT / subject).exists() for subject in subjects)
]
