"""Server-sent events: what happens, told to pages and programs that listen, while they listen and may."""
