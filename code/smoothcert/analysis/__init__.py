"""From certificates and training logs to metrics, tables and figures; nothing here loads torch."""
