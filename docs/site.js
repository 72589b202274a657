// A pasted error text has colons and options such as --cid. The search would take "vsock-proxy:" for a field of its
// index, refuse the whole query, and take --cid for a word that must not occur.
const QUERY = 2; // mkdocs-material, integrations/search/worker/message: SearchMessageType
const post = Worker.prototype.postMessage;
Worker.prototype.postMessage = function (message, ...rest) {
  if (message && message.type === QUERY && typeof message.data === "string") {
    message = { ...message, data: message.data.replace(/:/g, " ").replace(/(^|\s)-+(?=\w)/g, "$1") };
  }
  return post.call(this, message, ...rest);
};
