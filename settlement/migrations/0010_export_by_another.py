from pathlib import Path

from django.db import migrations

GUARDS = Path(__file__).with_name("export_guards.sql").read_text()


class Migration(migrations.Migration):
    dependencies = [("settlement", "0009_rates")]

    operations = [migrations.RunSQL(GUARDS)]
