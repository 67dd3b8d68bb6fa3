from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("crawl", "0004_page_lease_token"),
        ("tenants", "0006_fresh_days"),
    ]

    operations = [
        migrations.AddField(
            model_name="crawlrun",
            name="missing",
            field=models.JSONField(null=True),
        ),
        migrations.AddField(
            model_name="crawlrun",
            name="trapped_count",
            field=models.PositiveIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="website",
            name="content_selectors",
            field=models.JSONField(blank=True, db_default=[], default=list),
        ),
        migrations.AddField(
            model_name="website",
            name="crawl_every_hours",
            field=models.PositiveIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="website",
            name="exclude_selectors",
            field=models.JSONField(blank=True, db_default=[], default=list),
        ),
        migrations.AddField(
            model_name="website",
            name="next_crawl_at",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AlterField(
            model_name="page",
            name="reason",
            field=models.CharField(
                blank=True,
                choices=[
                    ("unchanged", "not changed since the last crawl"),
                    ("out_of_scope", "outside the website's folder or patterns"),
                    ("robots", "forbidden by robots.txt"),
                    ("noindex", "asks not to be indexed"),
                    ("redirect", "redirects to another page"),
                    ("redirect_off_site", "redirects to another site"),
                    ("canonical", "names another page as the original"),
                    ("duplicate", "has the same text as another page"),
                    ("not_html", "is neither a web page nor a document that can be read"),
                    ("empty", "has no text"),
                    ("needs_javascript", "shows its text with JavaScript only"),
                    ("login", "asks visitors to log in"),
                    ("challenge", "asks visitors to prove that they are human"),
                    ("cancelled", "the crawl was stopped"),
                    ("not_found", "does not exist"),
                    ("soft_404", "answers like pages that do not exist"),
                    ("access_denied", "the site denies access"),
                    ("http_error", "the site answered with an error"),
                    ("redirect_loop", "redirects to itself"),
                    ("too_large", "is too large"),
                    ("timeout", "took too long"),
                    ("unreachable", "could not be reached"),
                    ("forbidden_address", "is not on the public internet"),
                    ("bad_certificate", "the site's certificate is not valid"),
                    ("bad_response", "the site's answer is not valid HTTP"),
                    ("invalid_url", "is not a valid URL"),
                    ("crashed", "stopped its worker several times"),
                    ("unreadable", "its text could not be taken out"),
                    ("encrypted", "is locked with a password"),
                ],
                max_length=20,
            ),
        ),
        migrations.AddIndex(
            model_name="website",
            index=models.Index(
                condition=models.Q(("next_crawl_at__isnull", False)), fields=["next_crawl_at"], name="website_due"
            ),
        ),
    ]
