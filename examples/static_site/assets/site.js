const video = document.querySelector("video");

for (const button of document.querySelectorAll("button"))
  button.addEventListener("click", () => { video.currentTime = Number(button.dataset.time); });

video.addEventListener("timeupdate", () => {
  document.querySelector("#time").value = video.currentTime.toFixed(1);
});
