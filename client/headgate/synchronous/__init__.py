"""The client without awaiting, written from ``headgate.asynchronous`` by client/write-sync (``running`` by hand)."""
