import { type KeyboardEvent, useId, useState } from "react";

interface ComboboxProps {
  label: string;
  value: string;
  options: string[];
  onChoose: (value: string) => void;
  /** Called with the typed text if the options are only a part of all. */
  onSearch?: (text: string) => void;
}

const MOST_SHOWN = 200;

/** A text field that filters a list. Arrow keys move in the list, Enter takes an option, Escape closes it. */
export function Combobox({ label, value, options, onChoose, onSearch }: ComboboxProps) {
  const id = useId();
  const [text, setText] = useState<string | null>(null);
  const [position, setPosition] = useState(0);
  const open = text !== null;
  const wanted = (text ?? "").toLowerCase();
  const shown = options.filter((option) => option.toLowerCase().includes(wanted)).slice(0, MOST_SHOWN);

  const close = () => {
    setText(null);
    onSearch?.("");
  };
  const choose = (option: string | undefined) => {
    if (option !== undefined && option !== value) onChoose(option);
    close();
  };
  const show = () => {
    setText("");
    setPosition(Math.max(0, options.indexOf(value)));
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (!open && (event.key === "ArrowDown" || event.key === "Enter")) show();
    else if (event.key === "ArrowDown") setPosition(Math.min(position + 1, shown.length - 1));
    else if (event.key === "ArrowUp") setPosition(Math.max(position - 1, 0));
    else if (event.key === "Enter" && open) choose(shown[position]);
    else if (event.key === "Escape") close();
    else return;
    event.preventDefault();
  };
  return (
    <div className="oc-field oc-combobox">
      <label htmlFor={id}>{label}</label>
      <input
        id={id}
        role="combobox"
        aria-expanded={open}
        aria-controls={`${id}-list`}
        aria-activedescendant={open && shown[position] ? `${id}-${position}` : undefined}
        autoComplete="off"
        spellCheck={false}
        value={text ?? value}
        placeholder={value}
        onClick={() => open || show()}
        onChange={(event) => {
          setText(event.target.value);
          setPosition(0);
          onSearch?.(event.target.value);
        }}
        onBlur={close}
        onKeyDown={onKeyDown}
      />
      <div id={`${id}-list`} role="listbox" aria-label={label} hidden={!open}>
        {shown.map((option, index) => (
          // biome-ignore lint/a11y/useKeyWithClickEvents: the text field has the keys.
          <div
            key={option}
            id={`${id}-${index}`}
            role="option"
            tabIndex={-1}
            aria-selected={index === position}
            ref={(element) => {
              if (open && index === position) element?.scrollIntoView({ block: "nearest" });
            }}
            onMouseDown={(event) => event.preventDefault()}
            onClick={() => choose(option)}
          >
            {option}
          </div>
        ))}
        {shown.length === 0 && <div className="oc-muted">No match</div>}
      </div>
    </div>
  );
}
