// Browser wallets (EIP-6963): each one that announces itself gets a button; the page never sees a key.
"use strict";
const offer = document.getElementById("wallets");

const hex = (number) => "0x" + BigInt(number).toString(16);
const word = (value) => BigInt(value).toString(16).padStart(64, "0");

const onChain = async (provider) => {
  const chain = hex(offer.dataset.chain);
  if (BigInt(await provider.request({ method: "eth_chainId" })) === BigInt(chain)) return;
  await provider.request({ method: "wallet_switchEthereumChain", params: [{ chainId: chain }] });
  // Some wallets answer before they have switched, or switch elsewhere: believe only the chain id.
  if (BigInt(await provider.request({ method: "eth_chainId" })) !== BigInt(chain)) {
    throw { code: 4902 };
  }
};

const transactionFrom = (account) => {
  const { to, token, quantity } = offer.dataset;
  if (!token) return { from: account, to, value: hex(quantity) };
  // ERC-20 transfer(address,uint256)
  return { from: account, to: token, value: "0x0", data: "0xa9059cbb" + word(to) + word(quantity) };
};

const say = (name) => { offer.querySelector("[role=status]").textContent = offer.dataset[name]; };
const reasonOf = (error) => ({ 4001: "refused", 4902: "network", "-32602": "network" })[error && error.code] || "failed";

const pay = async (provider, button) => {
  const buttons = [...offer.querySelectorAll("button")];
  buttons.forEach((one) => { one.disabled = true; });
  say("asking");
  try {
    const [account] = await provider.request({ method: "eth_requestAccounts" });
    await onChain(provider);
    await provider.request({ method: "eth_sendTransaction", params: [transactionFrom(account)] });
    say("sent");
    return; // the buttons stay off: a second press would pay twice
  } catch (error) {
    say(reasonOf(error));
  }
  buttons.forEach((one) => { one.disabled = false; });
  button.focus();
};

const known = new Set();
const welcome = ({ detail }) => {
  const { info, provider } = detail || {};
  if (!info || !provider || known.has(info.uuid)) return;
  known.add(info.uuid);
  const button = document.createElement("button");
  button.type = "button";
  button.className = "secondary wallet";
  if (String(info.icon).startsWith("data:image/")) {
    const icon = document.createElement("img");
    icon.addEventListener("error", () => icon.remove());
    Object.assign(icon, { src: info.icon, alt: "", width: 24, height: 24 });
    button.append(icon);
  }
  button.append(offer.dataset.label.replace("{wallet}", String(info.name).slice(0, 40)));
  button.addEventListener("click", () => pay(provider, button));
  offer.querySelector(".list").append(button);
  offer.hidden = false;
};

if (offer) {
  window.addEventListener("eip6963:announceProvider", welcome);
  window.dispatchEvent(new Event("eip6963:requestProvider"));
}
