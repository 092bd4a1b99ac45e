from pathlib import Path

from django.db import migrations

GUARDS = Path(__file__).with_name("ledger_guards.sql").read_text()
UNDO = """
DROP FUNCTION settlement_entry_balances, settlement_entry_is_open, settlement_refuse_change CASCADE;
"""


class Migration(migrations.Migration):
    dependencies = [("settlement", "0001_initial")]

    operations = [migrations.RunSQL(GUARDS, UNDO)]
