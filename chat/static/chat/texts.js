// The page's texts in the language of the page, put into it by the server.

export const texts = document.getElementById("texts").dataset;
