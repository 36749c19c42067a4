"""Tools that a client offers, and calls of them: as OpenAI's messages, as lines of JSON, as recorded runs."""
