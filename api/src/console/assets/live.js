// The live tail: puts rows that the server has made on top of the table as they come.
"use strict";
{
    const ROWS_MAX = 500;
    const state = document.getElementById("live-state");
    const body = document.querySelector(".trail tbody");
    if (state && body && window.EventSource) {
        const stream = new EventSource(state.dataset.stream);
        stream.onopen = () => { state.textContent = "Live: new events appear on top."; };
        stream.onerror = () => {
            const isOver = stream.readyState === EventSource.CLOSED;
            state.textContent = isOver ? "The stream has ended: load the page anew." : "The connection was lost; trying again.";
        };
        stream.onmessage = (message) => {
            const made = document.createElement("template");
            made.innerHTML = message.data;
            for (const row of made.content.querySelectorAll("tr")) {
                row.classList.add("fresh");
                body.prepend(row);
            }
            while (body.rows.length > ROWS_MAX) body.lastElementChild.remove();
        };
    }
}
