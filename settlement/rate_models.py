"""The rows of rates: what sources said, when they were asked, and what was made of it.

All are facts: the database refuses to change or delete them (``migrations/rate_guards.sql``).
"""

from typing import ClassVar, Final

from django.db import models
from typing_extensions import override

PRICE_MAX: Final = 10**24
"""No price of anything is above this."""


class Observation(models.Model):
    """What one source said that one pair costs: quote currency for one unit of the base."""

    source = models.CharField(max_length=40)
    pair = models.CharField(max_length=24)
    price = models.DecimalField(max_digits=48, decimal_places=18)
    observed_at = models.DateTimeField(help_text="by the source's clock")
    fetched_at = models.DateTimeField(db_index=True, help_text="by the database's clock")

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                # PostgreSQL's NaN is above every number.
                condition=models.Q(price__gt=0, price__lte=PRICE_MAX),
                name="observation_positive",
            )
        ]

    @override
    def __str__(self) -> str:
        return f"{self.source} {self.pair} {self.price}"


class OfficialRates(models.Model):
    """One day's document of the National Bank as it came; ``rates`` are tenge for one unit."""

    effective_on = models.DateField()
    document = models.BinaryField()
    digest = models.GeneratedField(
        expression=models.Func("document", function="sha256"),
        output_field=models.BinaryField(),
        db_persist=True,
    )
    rates = models.JSONField()
    fetched_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "official rates"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["effective_on", "digest"], name="official_rates_once")
        ]

    @override
    def __str__(self) -> str:
        return f"official rates of {self.effective_on}"


class SourceAttempt(models.Model):
    """One time that a source of rates was asked; its breaker is derived from these."""

    source = models.CharField(max_length=40)
    tried_at = models.DateTimeField()
    is_usable = models.BooleanField()
    error = models.CharField(max_length=300, blank=True, default="")
    retry_at = models.DateTimeField(null=True)

    class Meta:
        indexes: ClassVar = [models.Index(fields=["source", "-tried_at"], name="attempt_newest")]

    @override
    def __str__(self) -> str:
        return f"{self.source} {self.tried_at}"


class CombinedRate(models.Model):
    """What all sources together say that a pair is worth, or why they say nothing."""

    pair = models.CharField(max_length=24)
    price = models.DecimalField(max_digits=48, decimal_places=18, null=True)
    refusal = models.CharField(max_length=24, blank=True, default="")
    provenance = models.JSONField()
    observed_at = models.DateTimeField(null=True, help_text="of the oldest price that counts")
    combined_at = models.DateTimeField()

    class Meta:
        indexes: ClassVar = [models.Index(fields=["pair", "-combined_at"], name="rate_newest")]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(
                    price__isnull=False,
                    price__gt=0,
                    price__lte=PRICE_MAX,
                    refusal="",
                    observed_at__isnull=False,
                )
                | (models.Q(price__isnull=True) & ~models.Q(refusal="")),
                name="rate_or_refusal",
            )
        ]

    @override
    def __str__(self) -> str:
        return f"{self.pair} {self.price or self.refusal}"
