"""Inspector protocol: `protocol` speaks it without I/O, `client` carries it over a websocket."""
