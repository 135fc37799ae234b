"""For those who test with metergate or write an adapter: clocks, an ASGI driver, the contracts as tests."""
