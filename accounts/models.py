"""Tokens, sessions, invitations, and what is counted of failed attempts to sign in."""

import uuid
from importlib import import_module

from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.base_session import AbstractBaseSession
from django.db import models
from django.db.models.functions import Lower
from knox.models import AbstractAuthToken


class Token(AbstractAuthToken):
    """A program's key to the API: what it may be used for, until when, and under which password it was made.

    The key itself is not kept, only its hash (``digest``).
    """

    number = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    name = models.CharField(max_length=100, blank=True)
    #: Values of ``Scope``.
    scopes = models.JSONField(default=list)
    #: ``password_mark`` of the person when it was made: with another password it opens nothing.
    password_mark = models.CharField(max_length=64, editable=False)
    agent = models.CharField(
        max_length=100,
        blank=True,
        help_text="The agent that acts with it in its person's name; empty for people's own programs.",
    )
    last_used_at = models.DateTimeField(null=True, blank=True)
    replaces = models.OneToOneField(
        "self",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="replaced_by",
        help_text="The token in whose place it was made; each has one in its place at most.",
    )

    class Meta(AbstractAuthToken.Meta):
        abstract = False
        swappable = "KNOX_TOKEN_MODEL"

    def __str__(self) -> str:
        return self.name or str(self.number)


class DeviceSignIn(models.Model):
    """A program that waits for its person to let it in from a browser (the device flow of RFC 8628).

    It polls with a code of which only the hash is kept; the person recognises it by ``user_code``.
    """

    digest = models.CharField(max_length=64, primary_key=True)
    user_code = models.CharField(max_length=9, unique=True)
    name = models.CharField(max_length=100, blank=True)
    #: Values of ``Scope``.
    scopes = models.JSONField(default=list)
    days = models.PositiveSmallIntegerField()
    agent = models.CharField(max_length=100, blank=True)
    #: Where it was asked from.
    address = models.CharField(max_length=45, blank=True)
    expires_at = models.DateTimeField(db_index=True)
    #: Who let it in; without it nobody has decided, unless it is denied.
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, blank=True, related_name="+"
    )
    denied = models.BooleanField(default=False)

    def __str__(self) -> str:
        return self.name or self.user_code


class BrowserSession(AbstractBaseSession):
    """A browser that is signed in, found by its person; ``accounts.sessions`` keeps the columns up to its content."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, blank=True, related_name="+"
    )
    started_at = models.DateTimeField(null=True, blank=True)
    last_seen_at = models.DateTimeField(null=True, blank=True)
    #: The address and the browser that signed in.
    address = models.CharField(max_length=45, blank=True)
    browser = models.CharField(max_length=200, blank=True)

    @classmethod
    def get_session_store_class(cls) -> type[SessionBase]:
        store: type[SessionBase] = import_module(settings.SESSION_ENGINE).SessionStore
        return store


class SignInCount(models.Model):
    """How many attempts to sign in failed lately, for one key: an account at an address, an address, an account.

    The keys are digests that need the installation's secret: the table tells neither names nor addresses.
    """

    key = models.CharField(max_length=64, primary_key=True)
    failures = models.PositiveIntegerField()
    #: When the count begins anew.
    ends_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"{self.failures} until {self.ends_at:%Y-%m-%d %H:%M}"


class KnownPlace(models.Model):
    """An address from which an account signed in not long ago, as a digest of both."""

    key = models.CharField(max_length=64, primary_key=True)
    ends_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"known until {self.ends_at:%Y-%m-%d %H:%M}"


class Invitation(models.Model):
    """Somebody who was asked in and has no account yet: they choose a password at an address that only they were sent.

    The address holds a key of which only the hash is kept. The row goes when the account is made.
    """

    digest = models.CharField(max_length=64, unique=True)
    email = models.EmailField()
    first_name = models.CharField(max_length=150, blank=True)
    last_name = models.CharField(max_length=150, blank=True)
    #: The project on which they get a role, a value of ``Role``; empty for none.
    project = models.ForeignKey(
        "datasets.Project", on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    role = models.CharField(max_length=11, blank=True)
    invited_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(Lower("email"), name="one_invitation_per_address")]

    def __str__(self) -> str:
        return f"invitation {self.pk}"


class Identity(models.Model):
    """Whom a provider knows an account by: its issuer and the subject, which never becomes somebody else's.

    ``groups`` and ``made_operator`` are what the provider gave, and may take away again.
    """

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="identity")
    issuer = models.CharField(max_length=500)
    subject = models.CharField(max_length=255)
    groups = models.ManyToManyField("auth.Group", related_name="+", blank=True)
    made_operator = models.BooleanField(default=False)
    linked_at = models.DateTimeField(auto_now_add=True)
    #: When the provider last said that the person is still there.
    seen_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "identities"
        constraints = [models.UniqueConstraint(fields=["issuer", "subject"], name="one_account_per_subject")]

    def __str__(self) -> str:
        return f"identity {self.pk}"


class ServiceAccount(models.Model):
    """What a pipeline is here: an account without password and sign-in, whose tokens others make.

    Those who own its project manage it, and operators; without a project operators alone.
    """

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="service_account"
    )
    project = models.ForeignKey(
        "datasets.Project", on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    purpose = models.CharField(max_length=200, blank=True)
    made_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    #: Whoever has made one of its tokens: what it proposes or approves may be theirs.
    key_holders = models.ManyToManyField(settings.AUTH_USER_MODEL, related_name="service_keys", blank=True)

    def __str__(self) -> str:
        return f"service account {self.pk}"
