"""The sockets of the live channel: framing, connections on the event loop, Engine.IO, audiences."""
