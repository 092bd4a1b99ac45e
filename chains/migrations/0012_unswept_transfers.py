from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models

MARK = """
UPDATE chains_transfer transfer SET swept = TRUE
FROM chains_block block
WHERE block.id = transfer.block_id AND EXISTS (
    SELECT FROM chains_sweepitem item JOIN chains_sweep sweep ON sweep.id = item.sweep_id
    WHERE item.address_id = transfer.address_id AND item.asset = transfer.asset
    AND sweep.state = 'done' AND item.swept >= item.value AND sweep.block_height > block.height
)
"""


class Migration(migrations.Migration):
    # Payments come in while this is built.
    atomic = False

    dependencies = [('chains', '0011_look_up_by_hash')]

    operations = [
        migrations.AddField(
            model_name='transfer',
            name='swept',
            field=models.BooleanField(default=False, db_default=False, help_text='a final sweep took it; a mark that is missing costs time, never coins'),
        ),
        migrations.RunSQL(MARK, migrations.RunSQL.noop),
        AddIndexConcurrently(
            'transfer',
            models.Index(condition=models.Q(('network__startswith', 'eip155:'), ('state', 'final'), ('swept', False)), fields=['asset', 'address'], name='transfer_unswept'),
        ),
    ]
