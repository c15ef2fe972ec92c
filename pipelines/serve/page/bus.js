// Messages between the tabs. The names: "use" (settings into a form), "edit" (an image to edit), "first" (an image that starts a video),
// "yaml" (a pipeline to show), "ran" (a run was started), "over" (a run is over), "removed" (a run left the gallery).

const target = new EventTarget();

export const tell = (name, detail = {}) => target.dispatchEvent(new CustomEvent(name, { detail }));

export const hear = (name, act) => target.addEventListener(name, (event) => act(event.detail));
