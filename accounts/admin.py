"""Operators manage accounts; who may come in by which token or session is told, and ended with the account."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from accounts.access import end_access, keys_known_to
from accounts.models import Identity, Invitation, ServiceAccount
from accounts.names import SERVICE_SUFFIX, is_service_name
from audit.admin import ReadOnlyAdmin
from audit.services import INSTALLATION_STREAM, record
from datasets.errors import InvalidInput
from datasets.evidence import RENAMED, account_rows, group_rows, rows_of_removed
from datasets.owners import keeping_owners, owned_by


class AccountAdmin(UserAdmin):
    """Accounts. Operators make and change those of people without staff rights; only superusers give such rights."""

    RESERVED = ("is_staff", "is_superuser", "groups", "user_permissions")

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        if obj is not None and (obj.is_staff or obj.is_superuser) and not self._is_superuser(request):
            return False
        return super().has_change_permission(request, obj)

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        reserved = () if self._is_superuser(request) else self.RESERVED
        return (*super().get_readonly_fields(request, obj), *reserved)

    @transaction.atomic
    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Raises ``LastOwner`` where something would lose its owner with the account or its groups."""
        owned = owned_by(User.objects.filter(pk=unquote(object_id))) if object_id and request.POST else []
        with keeping_owners(owned):
            return super().changeform_view(request, object_id, form_url, extra_context)

    def delete_model(self, request: HttpRequest, obj: User) -> None:
        """Raises ``LastOwner``, as deactivating the account does."""
        with _telling_of_accounts(request, [obj]):
            super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """Raises ``LastOwner`` where something would lose all its owners."""
        with _telling_of_accounts(request, list(queryset)):
            super().delete_queryset(request, queryset)

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        """Whoever is deactivated loses sessions and tokens at once, and has none when they come back.

        What an account was called before is kept in the trail: its entries have the name that it had.
        """
        if "username" in form.changed_data:
            self._require_fitting_name(obj)
        super().save_model(request, obj, form, change)
        if change and "username" in form.changed_data:
            self._record(request, obj, RENAMED, {"before": form.initial["username"]})
        if change and "is_active" in form.changed_data and not obj.is_active:
            self._end_access(request, obj, "account.deactivated")
            if known := keys_known_to(obj):
                told = f"{obj} has made tokens of {', '.join(known)} and may know one: rotate them."
                self.message_user(request, told, messages.WARNING)

    @transaction.atomic
    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:
        """A new password, and its entry in the trail, or neither."""
        return super().user_change_password(request, id, form_url)

    def log_addition(self, request: HttpRequest, obj: User, message: Any) -> Any:
        """Keep in the trail who made the account."""
        self._record(request, obj, "account.made", {})
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: User, message: Any) -> Any:
        """Keep in the trail what was changed of an account: a new password opens all that its person may do."""
        changed = {name for one in message for name in one.get("changed", {}).get("fields", ())}
        self._record(request, obj, "account.changed", {"changed": sorted(changed)})
        if "password" in changed:
            self._end_access(request, obj, "account.password_reset")
        return super().log_change(request, obj, message)

    @staticmethod
    def _require_fitting_name(account: User) -> None:
        """People and service accounts are told apart by their names, wherever they are named."""
        is_service = ServiceAccount.objects.filter(user=account.pk).exists()
        if is_service_name(account.get_username()) != is_service:
            raise InvalidInput(
                f"User names that end with {SERVICE_SUFFIX} are those of service accounts alone."
            )

    @staticmethod
    def _end_access(request: HttpRequest, account: User, action: str) -> None:
        own = request.session.session_key if account.pk == request.user.pk else None
        end_access(user=account, actor=request.user, action=action, spare=own)  # type: ignore[arg-type]  # signed in

    @staticmethod
    def _record(request: HttpRequest, account: User, action: str, data: dict[str, Any]) -> None:
        _record(request, "user", account.get_username(), action, data, account_rows(account))

    @staticmethod
    def _is_superuser(request: HttpRequest) -> bool:
        return bool(getattr(request.user, "is_superuser", False))


class InvitationAdmin(ReadOnlyAdmin):
    """Who was asked in; invitations are made and withdrawn on the page of people."""

    list_display = ("email", "project", "role", "invited_by", "created_at", "expires_at")
    exclude = ("digest",)


class ServiceAccountAdmin(ReadOnlyAdmin):
    """What pipelines are here; they are made and ended on the page of service accounts."""

    list_display = ("user", "project", "purpose", "made_by", "created_at")
    search_fields = ("user__username", "purpose")


class IdentityAdmin(ReadOnlyAdmin):
    """Which accounts the provider vouches for; people link their own, operators by ``manage.py link_person``."""

    list_display = ("user", "issuer", "subject", "linked_at", "seen_at")
    search_fields = ("user__username", "subject")


class GroupOfPeopleAdmin(GroupAdmin):
    """Groups. One by which something is owned goes only when somebody else owns that."""

    def delete_model(self, request: HttpRequest, obj: Group) -> None:
        with _telling_of_groups(request, [obj]):
            super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Group]) -> None:
        with _telling_of_groups(request, list(queryset)):
            super().delete_queryset(request, queryset)

    def log_addition(self, request: HttpRequest, obj: Group, message: Any) -> Any:
        """Keep in the trail who made the group, and what it lets its members do."""
        _record(request, "group", obj.name, "group.made", _told_of(obj), group_rows(obj))
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Group, message: Any) -> Any:
        """Keep in the trail what the group is now."""
        _record(request, "group", obj.name, "group.changed", _told_of(obj), group_rows(obj))
        return super().log_change(request, obj, message)


@contextmanager
def _telling_of_accounts(request: HttpRequest, accounts: Sequence[User]) -> Iterator[None]:
    """Keep in the trail that the accounts are deleted in the block, with the roles that go along."""
    with keeping_owners(owned_by(accounts)):
        told = [(one.get_username(), rows_of_removed(one)) for one in accounts]
        yield
        for name, rows in told:
            _record(request, "user", name, "account.deleted", {}, rows)


@contextmanager
def _telling_of_groups(request: HttpRequest, groups: Sequence[Group]) -> Iterator[None]:
    """The same of groups, with those who were in them."""
    with keeping_owners(owned_by([], groups)):
        told = [(one.name, rows_of_removed(one), list(one.user_set.all())) for one in groups]
        yield
        for name, rows, members in told:
            for member in members:
                rows |= account_rows(member)
            _record(request, "group", name, "group.deleted", {"members": len(members)}, rows)


def _told_of(group: Group) -> dict[str, Any]:
    names = group.permissions.values_list("content_type__app_label", "codename")
    return {"group": group.pk, "permissions": sorted(".".join(one) for one in names)}


def _record(
    request: HttpRequest,
    kind: str,
    name: str,
    action: str,
    data: dict[str, Any],
    rows: dict[str, str] | None = None,
) -> None:
    record(
        stream=INSTALLATION_STREAM,
        action=action,
        subject_type=kind,
        subject_id=name,
        actor=request.user.get_username(),
        data=data,
        rows=rows,
    )


admin.site.register(Invitation, InvitationAdmin)
admin.site.register(Identity, IdentityAdmin)
admin.site.register(ServiceAccount, ServiceAccountAdmin)
admin.site.unregister(Group)
admin.site.register(Group, GroupOfPeopleAdmin)
admin.site.unregister(User)
admin.site.register(User, AccountAdmin)


for _model in [one for one in admin.site._registry if one._meta.app_config.name.startswith("allauth.")]:
    admin.site.unregister(_model)  # their tables stay empty: the provider is set in the environment alone
