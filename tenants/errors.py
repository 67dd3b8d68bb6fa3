from core.errors import PasokhError


class TenantExistsError(PasokhError):
    status = 409
    code = "tenant_exists"


class TenantInvalidError(PasokhError):
    status = 422
    code = "tenant_invalid"


class TenantNotFoundError(PasokhError):
    status = 404
    code = "tenant_not_found"


class ScopeInvalidError(PasokhError):
    status = 422
    code = "scope_invalid"
