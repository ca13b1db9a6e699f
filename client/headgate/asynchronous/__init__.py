"""The client awaited. ``headgate.synchronous`` is written from these modules by client/write-sync."""
