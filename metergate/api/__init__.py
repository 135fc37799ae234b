"""The HTTP APIs: `billing` for customers with their key, `admin` for operators, `authz` for fronts."""

from metergate.api.admin import admin_app
from metergate.api.authz import authz_app
from metergate.api.billing import billing_app

__all__ = ["admin_app", "authz_app", "billing_app"]
