"""The clients that talk to providers: one module each, all with the interface of `client.Client`."""
