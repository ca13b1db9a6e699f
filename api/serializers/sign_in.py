"""Tokens."""

from rest_framework import serializers

from api.serializers.shared import StrictSerializer


class CredentialsSerializer(StrictSerializer):
    """User name and password, where they do not come by HTTP Basic."""

    username = serializers.CharField(required=False)
    password = serializers.CharField(required=False, trim_whitespace=False, write_only=True)


class TokenSerializer(serializers.Serializer):
    """A token for the header ``Authorization: Token …``; it is shown once."""

    token = serializers.CharField()
    expiry = serializers.DateTimeField(allow_null=True)
