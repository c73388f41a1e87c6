// The messages of a channel over a websocket: `live(url, {message, reset, state})`. It keeps the id of the
// last one and comes back with it by itself, so nothing is missed; where something was, `reset` is called:
// load the state anew. For the server's side see docs/guide/channels.md.
"use strict";

function live(url, { message, reset = () => {}, state = () => {}, since = "" }) {
  const FIRST = 250, LONGEST = 5000;  // milliseconds between two tries; doubled each time
  let socket, timer, wait = FIRST, closed = false;

  function connect() {
    const target = new URL(url, location);
    target.protocol = target.protocol.replace("http", "ws");
    if (since !== null) target.searchParams.set("since", since);
    socket = new WebSocket(target);
    socket.onopen = () => state("live");
    socket.onmessage = (event) => {
      const got = JSON.parse(event.data);
      if (got.id !== undefined) since = got.id;
      wait = FIRST;  // it works: the next loss is a new one
      if (got.reset) reset(got);
      else if ("data" in got) message(got.data, got);
    };
    socket.onclose = () => {
      if (closed) return;
      state("reconnecting …");
      // By chance between half and one and a half: after a restart not all come at the same moment.
      timer = setTimeout(connect, wait * (0.5 + Math.random()));
      wait = Math.min(Math.max(wait * 2, FIRST), LONGEST);
    };
  }
  connect();
  return {
    send: (data) => socket.send(JSON.stringify(data)),  // throws while there is no connection
    close: () => { closed = true; clearTimeout(timer); socket.close(); },
    restart: (id) => { since = id; wait = 0; socket.close(); },  // go on at another place
  };
}
