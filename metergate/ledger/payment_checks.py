"""What has to hold between payments and credits, as queries for what does not."""

# The queries are put together from words of our own.
# ruff: noqa: S608

from typing import Final

from metergate.ledger.checks import Check

# Credits move again where the money comes after all: `reversals.numbered` names those movements.
_MOVES: Final = """SELECT t.id, CASE
        WHEN t.id LIKE 'grant:refund#%' THEN 'refund:' || substr(t.id, 17)
        WHEN t.id LIKE 'grant:dispute#%' THEN 'dispute:' || substr(t.id, 18)
        WHEN t.id LIKE 'refund#%' THEN 'refund:' || substr(t.id, 11)
        WHEN t.id LIKE 'dispute#%' THEN 'dispute:' || substr(t.id, 12)
        ELSE t.id END AS of, e.amount
    FROM transactions t
    JOIN entries e ON e.org = t.org AND e."transaction" = t.seq AND e.book = 'funding'
    WHERE t.org = :org AND t.kind = 'adjust'"""
_FUNDED: Final = f"SELECT m.of AS id, sum(m.amount) AS taken FROM ({_MOVES}) m GROUP BY m.of"
_BACK: Final = """SELECT 'refund:' || id AS id, payment, taken, state FROM refunds WHERE org = :org
    UNION ALL SELECT 'dispute:' || provider || ':' || external_id, payment, taken, state
    FROM disputes WHERE org = :org"""

PAYMENTS: Final = (
    Check(
        "The payment {0} came in and gave {2} nanos of credits, not {1}.",
        """SELECT p.id, p.credits, coalesce(g.amount, 0) FROM payments p
        LEFT JOIN grants g ON g.org = p.org AND g.id = 'payment:' || p.id AND g.account = p.account
        WHERE p.org = :org AND p.kind = 'credits' AND p.state = 'succeeded'
        AND coalesce(g.amount, 0) <> p.credits""",
        "credits",
        1,
        2,
    ),
    Check(
        "The grant {0} is for a payment that did not come in.",
        """SELECT g.id FROM grants g WHERE g.org = :org AND g.id LIKE 'payment:%' AND NOT EXISTS
        (SELECT 1 FROM payments p WHERE p.org = g.org AND g.id = 'payment:' || p.id
            AND p.kind = 'credits' AND p.state = 'succeeded')""",
        "payment",
    ),
    Check(
        "The payment {0} came in with {2} of {1}, in the smallest unit of its currency.",
        """SELECT id, minor, paid_minor FROM payments
        WHERE org = :org AND state = 'succeeded' AND paid_minor < minor""",
        "paid",
        1,
        2,
    ),
    Check(
        "Of the money that went back, {0} took {2} nanos of credits, and says {1}.",
        f"""SELECT b.id, b.taken, coalesce(f.taken, 0) FROM ({_BACK}) b
        LEFT JOIN ({_FUNDED}) f ON f.id = b.id
        WHERE coalesce(b.taken, 0) <> coalesce(f.taken, 0)""",
        "taken back",
        1,
        2,
    ),
    Check(
        "The money of {0} went back, and the credits of its payment did not.",
        f"""SELECT b.id FROM ({_BACK}) b JOIN payments p ON p.org = :org AND p.id = b.payment
        WHERE b.taken IS NULL AND b.state IN ('succeeded', 'lost')
        AND p.kind = 'credits' AND p.state = 'succeeded'""",
        "taken back",
    ),
    Check(
        "Transaction {0} moves credits, and no refund or dispute says so.",
        f"""SELECT DISTINCT m.id FROM ({_MOVES}) m WHERE (m.of LIKE 'refund:%' OR m.of LIKE 'dispute:%')
        AND NOT EXISTS (SELECT 1 FROM ({_BACK}) b WHERE b.id = m.of)""",
        "taken back",
    ),
    Check(
        "The payment {0} gave {1} nanos of credits, and {2} were taken back.",
        f"""SELECT p.id, p.credits, b.taken FROM payments p
        JOIN (SELECT payment, sum(taken) AS taken FROM ({_BACK}) each_one GROUP BY payment) b
            ON b.payment = p.id
        WHERE p.org = :org AND b.taken > p.credits""",
        "taken back",
        1,
        2,
    ),
)
