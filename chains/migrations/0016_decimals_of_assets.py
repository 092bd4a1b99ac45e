from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [('chains', '0015_booked_outflows')]

    operations = [
        migrations.AddField(
            model_name='assetcursor',
            name='decimals',
            field=models.PositiveSmallIntegerField(help_text='what its amounts were first read with', null=True),
        ),
    ]
