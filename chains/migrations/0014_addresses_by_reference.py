from django.db import migrations, models


class Migration(migrations.Migration):
    # Addresses are given out and looked up while this is built.
    atomic = False

    dependencies = [('chains', '0013_spends_of_the_unmined')]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    [
                        'CREATE UNIQUE INDEX CONCURRENTLY address_one_each_anew ON chains_address (reference, network)',
                        'ALTER TABLE chains_address DROP CONSTRAINT address_one_each, '
                        'ADD CONSTRAINT address_one_each UNIQUE USING INDEX address_one_each_anew',
                    ],
                    [
                        'CREATE UNIQUE INDEX CONCURRENTLY address_one_each_anew ON chains_address (network, reference)',
                        'ALTER TABLE chains_address DROP CONSTRAINT address_one_each, '
                        'ADD CONSTRAINT address_one_each UNIQUE USING INDEX address_one_each_anew',
                    ],
                ),
            ],
            state_operations=[
                migrations.RemoveConstraint(model_name='address', name='address_one_each'),
                migrations.AddConstraint(
                    model_name='address',
                    constraint=models.UniqueConstraint(fields=('reference', 'network'), name='address_one_each'),
                ),
            ],
        ),
    ]
