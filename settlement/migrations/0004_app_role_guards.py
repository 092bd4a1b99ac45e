from pathlib import Path

from django.db import migrations

GUARDS = Path(__file__).with_name("app_role_guards.sql").read_text()
UNDO = """
DROP TRIGGER account_immutable ON settlement_account;
DROP TRIGGER account_kept ON settlement_account;
"""


class Migration(migrations.Migration):
    dependencies = [("settlement", "0003_demands")]

    operations = [migrations.RunSQL(GUARDS, UNDO)]
