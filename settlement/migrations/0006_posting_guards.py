from pathlib import Path

from django.db import migrations

HERE = Path(__file__).parent
FILL = """
ALTER TABLE settlement_journalentry DISABLE TRIGGER entry_immutable;
ALTER TABLE settlement_posting DISABLE TRIGGER posting_immutable;
UPDATE settlement_journalentry SET occurred_at = effective_at;
UPDATE settlement_posting p SET balance_tiyn = s.balance FROM (
    SELECT q.id, sum(q.amount_tiyn) OVER (PARTITION BY q.account_id ORDER BY q.id) AS balance
    FROM settlement_posting q JOIN settlement_account a ON a.id = q.account_id
    WHERE a.beneficiary <> '') s WHERE s.id = p.id;
ALTER TABLE settlement_journalentry ENABLE TRIGGER entry_immutable;
ALTER TABLE settlement_posting ENABLE TRIGGER posting_immutable;
"""


class Migration(migrations.Migration):
    dependencies = [("settlement", "0005_postings")]

    operations = [
        migrations.RunSQL(FILL),
        migrations.RunSQL((HERE / "posting.sql").read_text()),
        migrations.RunSQL((HERE / "posting_guards.sql").read_text()),
    ]
