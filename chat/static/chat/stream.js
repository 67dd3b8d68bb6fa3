// Following one answer. EventSource connects again by itself and names the last event it has seen.

export function follow(url, { update, end, reconnecting, lost }) {
  const source = new EventSource(url);
  source.addEventListener("update", (event) => update(JSON.parse(event.data)));
  source.addEventListener("end", (event) => {
    source.close();
    end(JSON.parse(event.data));
  });
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) lost();
    else reconnecting();
  });
  return source;
}
