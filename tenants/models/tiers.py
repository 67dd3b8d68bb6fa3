"""Tiers of end users: what it takes to be in one, and who moved when."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from tenants.models.people import EndUser
from tenants.models.tenant import TenantOwned


class TierRule(TenantOwned):
    """A tier and its thresholds; an end user is in the highest tier whose thresholds all are met."""

    name = models.SlugField(max_length=40)
    rank = models.PositiveSmallIntegerField()  # higher is better
    window_days = models.PositiveSmallIntegerField(default=30)  # the thresholds look this far back, today included
    min_questions = models.PositiveIntegerField(default=0)  # answered ones
    min_active_days = models.PositiveSmallIntegerField(default=0)
    daily_limit = models.PositiveIntegerField(null=True, blank=True)  # null: the tenant's

    class Meta:
        verbose_name = _("tier")
        verbose_name_plural = _("tiers")
        ordering = ["rank"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "name"], name="tier_name_once_per_tenant"),
            models.UniqueConstraint(fields=["tenant", "rank"], name="tier_rank_once_per_tenant"),
        ]

    def __str__(self) -> str:
        return self.name


class TierChange(TenantOwned):
    """A move of an end user between tiers, with the figures that caused it. Empty names mean no tier."""

    class Reason(models.TextChoices):
        RULES = "rules", _("rules")
        BY_HAND = "by_hand", _("by hand")

    end_user = models.ForeignKey(EndUser, on_delete=models.CASCADE, related_name="tier_changes")
    old_tier = models.CharField(max_length=40, blank=True)
    new_tier = models.CharField(max_length=40, blank=True)
    reason = models.CharField(max_length=10, choices=Reason.choices)
    figures = models.JSONField(default=dict, blank=True)  # {questions, active_days, window_days} of the rule that won
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = _("change of tier")
        verbose_name_plural = _("changes of tier")
        indexes = [models.Index(fields=["end_user", "created_at"], name="tier_change_of_user")]

    def __str__(self) -> str:
        return f"{self.end_user}: {self.old_tier or '–'} → {self.new_tier or '–'}"
