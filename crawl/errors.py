"""What can go wrong when crawling is asked for."""

from core.errors import PasokhError


class WebsiteInvalidError(PasokhError):
    status = 422
    code = "website_invalid"


class RenderingNotOfferedError(PasokhError):
    status = 422
    code = "rendering_not_offered"


class WebsiteBusyError(PasokhError):
    status = 409
    code = "website_busy"
    headers = {"Retry-After": "2"}


class VersionExistsError(PasokhError):
    status = 409
    code = "version_exists"


class VersionMissingError(PasokhError):
    status = 409
    code = "version_missing"


class VersionNotReadyError(PasokhError):
    status = 409
    code = "version_not_ready"
    headers = {"Retry-After": "30"}


class CrawlAlreadyActiveError(PasokhError):
    status = 409
    code = "crawl_already_active"


class UploadInvalidError(PasokhError):
    status = 422
    code = "upload_invalid"
