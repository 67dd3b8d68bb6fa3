from crawl import services
from knowledge.models import Document
from tests.site import add_tree


def test_a_crawl_stores_every_page_of_the_site(crawl, site):
    add_tree(site, 25)

    run = crawl()

    assert (run.state, run.error) == ("done", "")
    assert services.progress(run).counts == {"queued": 0, "fetched": 0, "done": 25, "skipped": 0, "failed": 0}
    assert Document.objects.count() == 25
    persian = Document.objects.get(title="محصول 3")
    assert persian.language == "fa"
    assert "می‌دهد" in persian.content
