from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('merchants', '0002_option_symbol'),
    ]

    operations = [
        migrations.AddField(
            model_name='invoice',
            name='confirm_by',
            field=models.DateTimeField(null=True),
        ),
        migrations.RunSQL(
            "UPDATE merchants_invoice SET confirm_by = expires_at + interval '24 hours'",
            migrations.RunSQL.noop,
        ),
        migrations.RunSQL('SET CONSTRAINTS ALL IMMEDIATE', migrations.RunSQL.noop),
        migrations.AlterField(
            model_name='invoice',
            name='confirm_by',
            field=models.DateTimeField(help_text='and stand in a block before this'),
        ),
        migrations.AlterField(
            model_name='invoice',
            name='expires_at',
            field=models.DateTimeField(help_text='payments must be seen before this'),
        ),
        migrations.AlterField(
            model_name='invoicepayment',
            name='booked',
            field=models.BooleanField(default=False, help_text='it stands in the ledger'),
        ),
        migrations.CreateModel(
            name='QuarantinedTransfer',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('identity', models.CharField(help_text='the on-chain output', max_length=200, unique=True)),
                ('network', models.CharField(max_length=60)),
                ('reference', models.CharField(max_length=64)),
                ('reason', models.CharField(max_length=500)),
                ('attempts', models.PositiveIntegerField(default=1)),
                ('quarantined_at', models.DateTimeField(auto_now_add=True)),
                ('tried_at', models.DateTimeField(auto_now_add=True)),
                ('resolved_at', models.DateTimeField(null=True)),
            ],
            options={
                'indexes': [models.Index(condition=models.Q(('resolved_at', None)), fields=['id'], name='quarantine_open')],
            },
        ),
    ]
