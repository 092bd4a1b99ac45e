from django.contrib.postgres.indexes import HashIndex
from django.db import migrations, models

MARK = """
UPDATE chains_spend SET is_mined = true FROM chains_transfer t
WHERE t.network = chains_spend.network AND t.txid = chains_spend.txid
  AND t.state IN ('included', 'final')
"""


class Migration(migrations.Migration):
    dependencies = [('chains', '0012_unswept_transfers')]

    operations = [
        migrations.AddField(
            model_name='spend',
            name='is_mined',
            field=models.BooleanField(default=False, help_text='in a block that counts'),
        ),
        migrations.RunSQL(MARK, migrations.RunSQL.noop),
        migrations.RemoveIndex(model_name='spend', name='spend_by_outpoint'),
        migrations.AddIndex(
            model_name='spend',
            index=HashIndex(
                condition=models.Q(('is_mined', False)), fields=['outpoint'], name='spend_unmined'
            ),
        ),
        migrations.AddIndex(
            model_name='spend', index=HashIndex(fields=['txid'], name='spend_by_txid')
        ),
    ]
