// Passkeys: forms with data-passkey="create" or "get" send the browser's answer as JSON in their field `answer`.
"use strict";

for (const form of document.querySelectorAll("form[data-passkey]")) {
  if (!window.PublicKeyCredential || !PublicKeyCredential.parseRequestOptionsFromJSON) continue;
  form.hidden = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const problem = form.querySelector("[role=alert]");
    problem.textContent = "";
    try {
      form.elements.answer.value = JSON.stringify(await answer(form));
      form.submit();
    } catch (error) {
      problem.textContent =
        error.name === "InvalidStateError"
          ? "This device already has a passkey for this site."
          : "Your browser did not use a passkey. Try again, or sign in with an email.";
    }
  });
}

async function answer(form) {
  if (form.dataset.passkey === "create") {
    const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(JSON.parse(form.dataset.options));
    return (await navigator.credentials.create({ publicKey })).toJSON();
  }
  const options = await (await fetch(form.dataset.challenge)).json();
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(options);
  return (await navigator.credentials.get({ publicKey })).toJSON();
}
