"""The two HTTP APIs: `billing` for customers with their key, `admin` for operators with a token."""

from metergate.api.admin import admin_app
from metergate.api.billing import billing_app

__all__ = ["admin_app", "billing_app"]
