from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    # Sweeps are found while this is built.
    atomic = False

    dependencies = [('chains', '0014_addresses_by_reference')]

    operations = [
        migrations.AddField(
            model_name='outflow',
            name='booked',
            field=models.BooleanField(default=False, db_default=False, help_text='the ledger was told, or is told by our own sweep'),
        ),
        AddIndexConcurrently(
            'outflow',
            models.Index(condition=models.Q(('booked', False)), fields=['id'], name='outflow_unbooked'),
        ),
    ]
