from django.contrib.postgres.indexes import HashIndex
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations


class Migration(migrations.Migration):
    # Millions of addresses are given out and looked up while this is built.
    atomic = False

    dependencies = [('chains', '0010_balances_outflows_alerts')]

    operations = [
        AddIndexConcurrently("address", HashIndex(fields=["script"], name="address_by_script")),
        AddIndexConcurrently("spend", HashIndex(fields=["outpoint"], name="spend_by_outpoint")),
    ]
