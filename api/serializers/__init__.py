"""What goes in and out, in JSON. Serializers for input refuse members that they do not know."""
