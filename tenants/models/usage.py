"""What end users and tenants use: a row per question, counters that limit a day, and the figures made of them."""

import uuid

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from tenants.models.people import EndUser
from tenants.models.tenant import TenantOwned


class DailyCounter(TenantOwned):
    """Questions of one day of the tenant's: one row per end user, and one without a user for the whole tenant.

    A reset deletes the row, so a unit reserved before it can no longer be given back to the counter after it.
    """

    end_user = models.ForeignKey(EndUser, on_delete=models.CASCADE, null=True, related_name="+")
    day = models.DateField()  # where the tenant is
    used = models.PositiveIntegerField(default=0)

    class Meta:
        verbose_name = _("daily counter")
        verbose_name_plural = _("daily counters")
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "end_user", "day"], nulls_distinct=False, name="daily_counter_once_per_day"
            )
        ]

    def __str__(self) -> str:
        return f"{self.end_user or self.tenant} {self.day}: {self.used}"


class TokenDay(TenantOwned):
    """A language model's tokens of one day of the tenant's: used, and held for answers that are being written."""

    day = models.DateField()  # where the tenant is
    held = models.PositiveIntegerField(default=0)
    prompt_tokens = models.PositiveBigIntegerField(default=0)
    answer_tokens = models.PositiveBigIntegerField(default=0)
    cost_micros = models.PositiveBigIntegerField(default=0)  # millionths of the prices' currency

    class Meta:
        verbose_name = _("day of tokens")
        verbose_name_plural = _("days of tokens")
        constraints = [models.UniqueConstraint(fields=["tenant", "day"], name="token_day_once_per_tenant")]

    def __str__(self) -> str:
        return f"{self.tenant} {self.day}: {self.prompt_tokens + self.answer_tokens}"


class UsageHour(TenantOwned):
    """A tenant's closed hour; `UsageEntry.hour` says which questions it counts, each in exactly one hour."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    starts_at = models.DateTimeField()
    questions = models.PositiveIntegerField(default=0)
    answered = models.PositiveIntegerField(default=0)
    not_found = models.PositiveIntegerField(default=0)
    stopped = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    end_users = models.PositiveIntegerField(default=0)  # different ones
    total_ms_p50 = models.PositiveIntegerField(null=True)  # question to end of answer, of answered ones
    total_ms_p95 = models.PositiveIntegerField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = _("hour of usage")
        verbose_name_plural = _("hours of usage")
        constraints = [models.UniqueConstraint(fields=["tenant", "starts_at"], name="usage_hour_once_per_tenant")]

    def __str__(self) -> str:
        return f"{self.tenant} {self.starts_at:%Y-%m-%d %H:%M}"


class UsageEntry(TenantOwned):
    """One question in the accounts: reserved when asked, settled when over, counted once in each figure.

    The id is the question's own, so doing any of these twice changes nothing.
    """

    class Outcome(models.TextChoices):
        OPEN = "open", _("open")
        ANSWERED = "answered", _("answered")
        NOT_FOUND = "not_found", _("not in the site's content")
        STOPPED = "stopped", _("stopped")
        FAILED = "failed", _("failed")

    id = models.UUIDField(primary_key=True, editable=False)
    end_user = models.ForeignKey(EndUser, on_delete=models.CASCADE, null=True, related_name="+")
    day = models.DateField()
    outcome = models.CharField(max_length=10, choices=Outcome.choices, default=Outcome.OPEN)
    # The counters that hold its unit; not foreign keys, because a reset may have deleted them.
    user_counter = models.BigIntegerField(null=True)
    tenant_counter = models.BigIntegerField(null=True)
    total_ms = models.PositiveIntegerField(null=True)
    asked_at = models.DateTimeField()
    settled_at = models.DateTimeField(null=True)
    returned_at = models.DateTimeField(null=True)  # when the unit was given back
    counted_at = models.DateTimeField(null=True)  # in the end user's statistics
    hour = models.ForeignKey(UsageHour, on_delete=models.SET_NULL, null=True, related_name="entries")

    class Meta:
        verbose_name = _("usage entry")
        verbose_name_plural = _("usage entries")
        indexes = [
            models.Index(
                fields=["end_user", "settled_at"],
                condition=Q(counted_at=None, settled_at__isnull=False, end_user__isnull=False),
                name="usage_entry_uncounted",
            ),
            models.Index(
                fields=["tenant", "settled_at"],
                condition=Q(hour=None, settled_at__isnull=False),
                name="usage_entry_unreported",
            ),
            models.Index(fields=["asked_at"], name="usage_entry_asked"),
        ]

    def __str__(self) -> str:
        return f"{self.id}: {self.outcome}"


class Figures(models.Model):
    """Counts of questions by outcome."""

    questions = models.PositiveIntegerField(default=0)
    answered = models.PositiveIntegerField(default=0)
    not_found = models.PositiveIntegerField(default=0)
    stopped = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    answered_ms = models.PositiveBigIntegerField(default=0)  # the sum over answered questions

    class Meta:
        abstract = True


class EndUserDay(TenantOwned, Figures):
    """An end user's questions of one day."""

    end_user = models.ForeignKey(EndUser, on_delete=models.CASCADE, related_name="days")
    day = models.DateField()

    class Meta:
        verbose_name = _("end user's day")
        verbose_name_plural = _("end users' days")
        constraints = [models.UniqueConstraint(fields=["end_user", "day"], name="end_user_day_once")]
        indexes = [models.Index(fields=["tenant", "day"], name="end_user_day_of_tenant")]

    def __str__(self) -> str:
        return f"{self.end_user} {self.day}"


class EndUserStatistics(TenantOwned, Figures):
    """An end user's questions of all time."""

    end_user = models.OneToOneField(EndUser, on_delete=models.CASCADE, primary_key=True, related_name="statistics")
    active_days = models.PositiveIntegerField(default=0)
    first_asked_at = models.DateTimeField(null=True)
    last_asked_at = models.DateTimeField(null=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name = _("end user's statistics")
        verbose_name_plural = _("end users' statistics")

    def __str__(self) -> str:
        return f"{self.end_user}: {self.questions}"


class LimitReset(TenantOwned):
    """A day's limits begun anew: by the calendar, once a day and tenant, or by hand."""

    class Reason(models.TextChoices):
        NEW_DAY = "new_day", _("new day")
        BY_HAND = "by_hand", _("by hand")

    end_user = models.ForeignKey(EndUser, on_delete=models.CASCADE, null=True, related_name="+")  # null: everyone
    day = models.DateField()  # the day that begins or began anew
    reason = models.CharField(max_length=10, choices=Reason.choices)
    units = models.PositiveIntegerField(default=0)  # used until then, in the counters taken away
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = _("reset of limits")
        verbose_name_plural = _("resets of limits")
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "day"], condition=Q(reason="new_day"), name="limit_reset_once_per_new_day"
            )
        ]

    def __str__(self) -> str:
        return f"{self.end_user or self.tenant} {self.day}"
