/** The form of a notebook: text by parameter, and the request it becomes; pure. */
import { Notebook, Parameter, Run } from './generated/documents';

/** What a person filled in; parameters that are not in it have the notebook's own value. */
export interface IForm {
  parameters: Record<string, string>;
  data: { name: string; uri: string }[];
  gates: string;
  register: string;
  deploy: string;
  on: string;
  profile: string;
}

export const EMPTY: IForm = {
  parameters: {},
  data: [],
  gates: '',
  register: '',
  deploy: '',
  on: '',
  profile: ''
};

/** Write a value as a person would. */
export function asText(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/** Give the notebook's own value of a parameter as text. */
export function defaultText(parameter: Parameter): string {
  if (!parameter.has_default) {
    return '';
  }
  return parameter.default === null || parameter.default === undefined
    ? parameter.default_text
    : asText(parameter.default);
}

/** Whether a field holds something else than the notebook's own value. */
export function isChanged(parameter: Parameter, form: IForm): boolean {
  const value = form.parameters[parameter.name];
  return value !== undefined && value !== defaultText(parameter);
}

/** Set a field; the notebook's own value is none of the form's. */
export function withParameter(form: IForm, parameter: Parameter, value: string): IForm {
  const parameters = { ...form.parameters };
  if (value === defaultText(parameter)) {
    delete parameters[parameter.name];
  } else {
    parameters[parameter.name] = value;
  }
  return { ...form, parameters };
}

/** Fill in what a run was given; secrets are references, and stay such. */
export function fromRun(form: IForm, notebook: Notebook, run: Run): IForm {
  return notebook.parameters.reduce(
    (filled, parameter) =>
      parameter.name in run.parameters
        ? withParameter(filled, parameter, asText(run.parameters[parameter.name]))
        : withParameter(filled, parameter, defaultText(parameter)),
    form
  );
}

/** Give what a run, sweep or schedule is asked for with. */
export function request(form: IForm, notebook: Notebook) {
  const known = new Set(notebook.parameters.map(one => one.name));
  return {
    parameters: Object.fromEntries(
      Object.entries(form.parameters).filter(([name]) => known.has(name))
    ),
    data: Object.fromEntries(
      form.data
        .filter(row => row.name.trim() && row.uri.trim())
        .map(row => [row.name.trim(), row.uri.trim()])
    ),
    on: form.on,
    profile: form.on === 'kubeflow' ? form.profile : ''
  };
}

/** Give what comes after a run. */
export function afterwards(form: IForm) {
  return {
    gates: form.gates
      .split('\n')
      .map(line => line.trim())
      .filter(line => line),
    register: form.register.trim(),
    deploy: form.register.trim() ? form.deploy : ''
  };
}

/** Name the field that a message is about; empty if it names none. */
export function fieldOf(message: string, notebook: Notebook): string {
  const words = message.split(/[^\w]+/);
  const named = notebook.parameters.filter(one => words.includes(one.name));
  return named.length === 1 ? named[0].name : '';
}
