// What Gradio hands to a component's script, and what component.py puts in front of it.
declare const element: HTMLElement;
declare const props: { value: unknown; label?: unknown; placeholder?: unknown; [name: string]: unknown };
declare function trigger(event: string, data?: unknown): void;
declare function watch(name: string | string[], callback: () => void): void;
declare const STYLE: string;
