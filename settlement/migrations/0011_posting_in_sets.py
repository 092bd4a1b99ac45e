from pathlib import Path

import django.db.models.deletion
from django.db import migrations, models

POSTING = Path(__file__).with_name("posting.sql").read_text()
REPLACED = """
DROP TRIGGER IF EXISTS postings_balance ON settlement_posting;
DROP TRIGGER IF EXISTS postings_run ON settlement_posting;
DROP FUNCTION IF EXISTS settlement_postings_balance, settlement_balances_run;
DROP FUNCTION IF EXISTS settlement_post(
    text[], text[], text[], text[], uuid[], bigint[], text[], timestamptz[], integer[], text[],
    text[], text[], bigint[], text[], numeric[]);
CREATE OR REPLACE TRIGGER postings_fit AFTER INSERT ON settlement_posting
    REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION settlement_postings_fit();
"""


class Migration(migrations.Migration):
    dependencies = [("settlement", "0010_export_by_another")]

    operations = [
        migrations.AlterField(
            model_name="posting",
            name="entry",
            field=models.ForeignKey(
                db_constraint=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="postings",
                to="settlement.journalentry",
            ),
        ),
        # For databases that ran 0006 as it first was.
        migrations.RunSQL(POSTING),
        migrations.RunSQL(REPLACED),
    ]
