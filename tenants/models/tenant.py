"""The customer, and what every row of theirs derives from."""

import uuid
from datetime import UTC, date, datetime, time, timedelta
from typing import ClassVar, Self, TypeVar
from zoneinfo import ZoneInfo, available_timezones

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

RETENTION_DAYS = [MinValueValidator(1), MaxValueValidator(36_500)]
_Row_co = TypeVar("_Row_co", bound="TenantOwned", covariant=True)


def validate_time_zone(name: str) -> None:
    if name not in available_timezones():
        raise ValidationError(_("“%(name)s” is not a time zone, such as Asia/Tehran."), params={"name": name})


class Tenant(models.Model):
    """A customer: owns websites, knowledge, conversations, keys and end users."""

    class Version(models.TextChoices):
        NEXT = "next", _("next")
        PREVIOUS = "previous", _("previous")
        DROPPED = "dropped", _("dropped")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    slug = models.SlugField(max_length=63, unique=True)
    name = models.CharField(max_length=200)
    language = models.CharField(max_length=2, choices=settings.LANGUAGES, default="en")
    time_zone = models.CharField(max_length=64, default="UTC", validators=[validate_time_zone])
    daily_limit = models.PositiveIntegerField(
        _("questions a day, all together"), null=True, blank=True
    )  # null: LIMIT_TENANT_DAILY
    end_user_daily_limit = models.PositiveIntegerField(
        _("questions a day, each end user"), null=True, blank=True
    )  # null: LIMIT_END_USER_DAILY
    daily_tokens = models.PositiveIntegerField(
        _("tokens of a language model a day"), null=True, blank=True
    )  # null: LLM_TENANT_DAILY_TOKENS; 0: no limit
    archive_after_days = models.PositiveIntegerField(
        _("archive a conversation after days of silence"), null=True, blank=True, validators=RETENTION_DAYS
    )  # null: never
    erase_after_days = models.PositiveIntegerField(
        _("erase an archived conversation after days"), null=True, blank=True, validators=RETENTION_DAYS
    )  # null: never
    fresh_days = models.PositiveIntegerField(
        _("read a cited page again if it was last read before days"),
        null=True,
        blank=True,
        validators=[MaxValueValidator(36_500)],
    )  # null: FRESH_DAYS; 0: never
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)
    # Each version of a customer's knowledge is held by a row of this table: the customer's own, and others that are no
    # customers (docs/freshness.md). ``version`` is empty for the one that is live, and ``holder`` points at it.
    version_of = models.ForeignKey("self", on_delete=models.CASCADE, null=True, editable=False, related_name="versions")
    version = models.CharField(max_length=8, choices=Version.choices, default="", db_default="", editable=False)
    version_since = models.DateTimeField(null=True, editable=False)
    holder = models.ForeignKey("self", on_delete=models.RESTRICT, null=True, editable=False, related_name="+")

    class Meta:
        verbose_name = _("tenant")
        verbose_name_plural = _("tenants")
        constraints = [
            models.UniqueConstraint(
                fields=["version_of", "version"],
                condition=~models.Q(version="dropped"),
                name="tenant_version_once",
            ),
            models.CheckConstraint(
                condition=models.Q(erase_after_days=None) | models.Q(archive_after_days__isnull=False),
                name="tenant_erases_only_what_it_archives",
                violation_error_message=_("Only archived conversations are erased: say when they are archived."),
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def knowledge_id(self) -> uuid.UUID:
        """Return the id of the row that holds the live version of the tenant's knowledge."""
        return self.holder_id or self.pk

    @property
    def customer_id(self) -> uuid.UUID:
        """Return the id of whose knowledge this row holds."""
        return self.version_of_id or self.pk

    def as_holder(self) -> Self:
        """Return the row as one that knows what it holds itself, whatever version is live; not to be saved."""
        self.holder_id = self.pk
        return self

    def knowledge_versions(self) -> "list[Tenant]":
        """Return the rows that hold a version of this customer's knowledge, the live one first, then by name."""
        rows = Tenant.objects.filter(models.Q(pk=self.pk) | models.Q(version_of=self))
        return [row.as_holder() for row in rows.exclude(version=self.Version.DROPPED).order_by("version")]

    def find_version(self, version: str) -> "Tenant | None":
        return next((row for row in self.knowledge_versions() if row.version == version), None)

    def fresh_since(self, moment: datetime) -> datetime | None:
        """Return since when a page must have been read to count as fresh at the moment; None if all are fresh."""
        days = settings.FRESH_DAYS if self.fresh_days is None else self.fresh_days
        return moment - timedelta(days=days) if days else None

    def day_of(self, moment: datetime) -> date:
        """Return the date of the moment where the tenant is."""
        return moment.astimezone(ZoneInfo(self.time_zone)).date()

    def next_midnight(self, moment: datetime) -> datetime:
        """Return when the tenant's day after the moment begins."""
        tomorrow = self.day_of(moment) + timedelta(days=1)
        return datetime.combine(tomorrow, time.min, tzinfo=ZoneInfo(self.time_zone)).astimezone(UTC)


class TenantOwnedQuerySet(models.QuerySet[_Row_co]):
    def for_tenant(self, tenant: Tenant) -> Self:
        return self.filter(tenant=tenant)


class KnowledgeQuerySet(TenantOwnedQuerySet[_Row_co]):
    """Rows that are part of a version of a tenant's knowledge."""

    def for_tenant(self, tenant: Tenant) -> Self:
        """Return those of the live version; of a holder's own (`Tenant.as_holder`)."""
        return self.filter(tenant=tenant.knowledge_id)


class TenantOwned(models.Model):
    """A row that belongs to exactly one tenant and goes with it."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="+", verbose_name=_("tenant"))

    objects: ClassVar = TenantOwnedQuerySet.as_manager()

    class Meta:
        abstract = True
