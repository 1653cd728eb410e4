/** The form of the notebook in front. */
import * as React from 'react';

import { asRefusal, Refusal } from '../api';
import {
  afterwards,
  asText,
  defaultText,
  fieldOf,
  fromRun,
  IForm,
  isChanged,
  request,
  withParameter
} from '../form';
import {
  Notebook,
  OfferedProfile,
  Overview,
  Parameter,
  Run
} from '../generated/documents';
import { Model } from '../model';
import { base, size } from '../text';
import {
  Button,
  Doing,
  Empty,
  Field,
  Loading,
  Problem,
  TextField,
  useWords
} from './bits';

export function RunView(props: { model: Model; newNotebook?: () => void }): JSX.Element {
  const { model } = props;
  const trans = useWords();
  if (!model.front.path) {
    return (
      <Empty title={trans.__('No notebook is in front')}>
        <p>
          {trans.__(
            'Open a notebook: its parameters appear here, to be run on this machine or on a cluster.'
          )}
        </p>
        {props.newNotebook && (
          <Button tone="accept" onClick={props.newNotebook}>
            {trans.__('New notebook')}
          </Button>
        )}
      </Empty>
    );
  }
  const { data, error, loading } = model.notebook;
  if (error) {
    return <Problem error={error} again={() => void model.readNotebook()} />;
  }
  if (!data) {
    return loading ? (
      <Loading what={trans.__('Reading the notebook')} />
    ) : (
      <Empty title={trans.__('The notebook was not read yet')} />
    );
  }
  return <Form model={model} notebook={data} />;
}

function Form(props: { model: Model; notebook: Notebook }): JSX.Element {
  const { model, notebook } = props;
  const trans = useWords();
  const [error, setError] = React.useState<Refusal | null>(null);
  const [more, setMore] = React.useState<'' | 'sweep' | 'schedule'>('');
  const project = model.project.data;
  const form = model.form;
  const edit = (next: IForm) => {
    setError(null);
    model.edit(next);
  };
  const wrong = error ? fieldOf(error.fault.message, notebook) : '';
  const submit = async (ask: () => Promise<Run | null>) => {
    setError(null);
    try {
      if (model.front.isDirty) {
        await model.front.save();
      }
      const run = await ask();
      if (run) {
        model.take(run);
        await model.look(run.id);
      }
    } catch (found) {
      setError(asRefusal(found));
    }
  };
  const train = (on: string) =>
    submit(async () => {
      const words = { ...request({ ...form, on }, notebook), ...afterwards(form) };
      return (await model.ask('train', {
        notebook: model.front.path,
        ...words
      })) as Run;
    });
  const last = model.runs.data?.runs.find(
    run => base(run.notebook) === base(model.front.path)
  );
  const changed = notebook.parameters.filter(one => isChanged(one, form)).length;
  return (
    <form
      className="mlops-Form"
      aria-label={trans.__('Run %1', base(model.front.path))}
      onSubmit={event => event.preventDefault()}
    >
      <h3 className="mlops-Heading">{base(model.front.path)}</h3>
      {!notebook.is_tagged && <Tagging model={model} notebook={notebook} />}
      {notebook.parameters.map(parameter => (
        <ParameterField
          key={parameter.name}
          parameter={parameter}
          form={form}
          error={wrong === parameter.name && error ? error.fault.message : ''}
          edit={edit}
        />
      ))}
      {!!changed && (
        <div className="mlops-Row">
          <Button tone="quiet" onClick={() => edit({ ...form, parameters: {} })}>
            {trans.__('Reset all %1', String(changed))}
          </Button>
        </div>
      )}
      {last && notebook.parameters.length > 0 && (
        <div className="mlops-Row">
          <Button tone="quiet" onClick={() => edit(fromRun(form, notebook, last))}>
            {trans.__('Values of the last run, %1', last.id)}
          </Button>
        </div>
      )}
      <Data form={form} edit={edit} />
      <After form={form} edit={edit} project={project} />
      {project?.kubeflow && <Place form={form} edit={edit} project={project} />}
      <div className="mlops-Actions">
        <Doing
          tone="accept"
          label={trans.__('Run')}
          busy={trans.__('Starting …')}
          title={trans.__('Run on this machine')}
          act={() => train('local')}
        />
        {project?.kubeflow && (
          <Doing
            label={trans.__('Run on Kubeflow')}
            busy={trans.__('Submitting …')}
            act={() => train('kubeflow')}
          />
        )}
        <Button
          aria-expanded={more === 'sweep'}
          onClick={() => setMore(more === 'sweep' ? '' : 'sweep')}
        >
          {trans.__('Sweep …')}
        </Button>
        {project?.kubeflow && (
          <Button
            aria-expanded={more === 'schedule'}
            onClick={() => setMore(more === 'schedule' ? '' : 'schedule')}
          >
            {trans.__('Schedule …')}
          </Button>
        )}
      </div>
      {more === 'sweep' && (
        <SweepForm model={model} notebook={notebook} submit={submit} />
      )}
      {more === 'schedule' && <ScheduleForm model={model} notebook={notebook} />}
      {error && <Problem error={error} />}
    </form>
  );
}

/** A notebook without a tagged cell: what is done about it, and the one step to mend it. */
function Tagging(props: { model: Model; notebook: Notebook }): JSX.Element {
  const trans = useWords();
  const found = props.notebook.parameters_cell !== null;
  return (
    <div className="mlops-Hint">
      <p>
        {found
          ? trans.__(
              'No cell is tagged “parameters”: the first cell that only assigns values is taken for it.'
            )
          : trans.__(
              'No cell has parameters. Put values such as lr = 0.1 into a cell of their own and tag it.'
            )}
      </p>
      <Doing
        label={trans.__('Tag the selected cell')}
        disabled={!props.model.front.canTag}
        act={async () => {
          await props.model.front.tagCell();
          await props.model.readNotebook();
        }}
      />
    </div>
  );
}

function ParameterField(props: {
  parameter: Parameter;
  form: IForm;
  error: string;
  edit: (form: IForm) => void;
}): JSX.Element {
  const { parameter, form, edit } = props;
  const trans = useWords();
  const id = `mlops-parameter-${parameter.name}`;
  const own = defaultText(parameter);
  const value = form.parameters[parameter.name] ?? own;
  const changed = isChanged(parameter, form);
  const set = (text: string) => edit(withParameter(form, parameter, text));
  const described =
    [
      parameter.help || parameter.type ? `${id}-help` : '',
      props.error ? `${id}-error` : ''
    ]
      .filter(one => one)
      .join(' ') || undefined;
  const common = {
    id,
    'aria-describedby': described,
    'aria-invalid': props.error ? true : undefined
  };
  let input: JSX.Element;
  if (parameter.choices.length) {
    const known = parameter.choices.map(asText);
    input = (
      <select
        {...common}
        className="mlops-Input"
        value={value}
        onChange={event => set(event.target.value)}
      >
        {!known.includes(value) && <option value={value}>{value}</option>}
        {known.map(choice => (
          <option key={choice} value={choice}>
            {choice}
          </option>
        ))}
      </select>
    );
  } else if (parameter.type === 'bool') {
    input = (
      <input
        {...common}
        type="checkbox"
        checked={value.toLowerCase() === 'true'}
        onChange={event => set(event.target.checked ? 'true' : 'false')}
      />
    );
  } else {
    input = (
      <input
        {...common}
        className="mlops-Input"
        value={value}
        placeholder={parameter.has_default ? own : trans.__('needed')}
        required={!parameter.has_default}
        spellCheck={false}
        onChange={event => set(event.target.value)}
      />
    );
  }
  const help = [parameter.help, parameter.type].filter(one => one).join(' · ');
  return (
    <Field
      id={id}
      label={parameter.name}
      help={help}
      error={props.error}
      changed={changed}
      reset={() => set(own)}
    >
      {input}
    </Field>
  );
}

function Data(props: { form: IForm; edit: (form: IForm) => void }): JSX.Element {
  const { form, edit } = props;
  const trans = useWords();
  const set = (at: number, part: Partial<{ name: string; uri: string }>) =>
    edit({
      ...form,
      data: form.data.map((row, n) => (n === at ? { ...row, ...part } : row))
    });
  return (
    <details className="mlops-Section" open={form.data.length > 0}>
      <summary>{trans.__('Data')}</summary>
      {form.data.map((row, at) => (
        <div className="mlops-Row" key={at}>
          <input
            className="mlops-Input mlops-mod-short"
            aria-label={trans.__('Name of data %1', String(at + 1))}
            placeholder={trans.__('name')}
            value={row.name}
            onChange={event => set(at, { name: event.target.value })}
          />
          <input
            className="mlops-Input"
            aria-label={trans.__('Address of data %1', String(at + 1))}
            placeholder="s3://bucket/train.csv"
            value={row.uri}
            onChange={event => set(at, { uri: event.target.value })}
          />
          <Button
            tone="quiet"
            aria-label={trans.__('Remove data %1', row.name || String(at + 1))}
            onClick={() => edit({ ...form, data: form.data.filter((_, n) => n !== at) })}
          >
            ✕
          </Button>
        </div>
      ))}
      <Button
        tone="quiet"
        onClick={() => edit({ ...form, data: [...form.data, { name: '', uri: '' }] })}
      >
        {trans.__('Add data')}
      </Button>
      <div className="mlops-Field-help">
        {trans.__('It is staged before the run, and its digest is recorded.')}
      </div>
    </details>
  );
}

function After(props: {
  form: IForm;
  edit: (form: IForm) => void;
  project: Overview | null;
}): JSX.Element {
  const { form, edit, project } = props;
  const trans = useWords();
  const own = (form.register && project?.gates[form.register]) || [];
  return (
    <details
      className="mlops-Section"
      open={!!(form.gates || form.register || form.deploy)}
    >
      <summary>{trans.__('Gates, registry, deployment')}</summary>
      <Field
        id="mlops-gates"
        label={trans.__('Gates, one a line')}
        help={
          own.length
            ? trans.__('Besides those of mlops.toml: %1', own.join('; '))
            : trans.__(
                'The run is judged by them: accuracy >= 0.9, auc >= champion - 0.005'
              )
        }
      >
        <textarea
          id="mlops-gates"
          className="mlops-Input"
          rows={Math.max(2, form.gates.split('\n').length)}
          spellCheck={false}
          aria-describedby="mlops-gates-help"
          value={form.gates}
          onChange={event => edit({ ...form, gates: event.target.value })}
        />
      </Field>
      <TextField
        id="mlops-register"
        label={trans.__('Register as')}
        help={trans.__('If all gates pass. Empty registers nothing.')}
        value={form.register}
        set={text => edit({ ...form, register: text })}
      />
      {form.register && !!project?.environments.length && (
        <Field id="mlops-deploy" label={trans.__('Open a deployment pull request to')}>
          <select
            id="mlops-deploy"
            className="mlops-Input"
            value={form.deploy}
            onChange={event => edit({ ...form, deploy: event.target.value })}
          >
            <option value="">{trans.__('nowhere')}</option>
            {project.environments.map(each => (
              <option key={each.name} value={each.name}>
                {each.name}
              </option>
            ))}
          </select>
        </Field>
      )}
    </details>
  );
}

function profileText(profile: OfferedProfile): string {
  const parts = [
    profile.gpu ? `${profile.gpu} × ${profile.gpu_resource}` : '',
    profile.cpu ? `${profile.cpu} CPU` : '',
    profile.memory ? size(profile.memory) : '',
    Number(profile.price) ? `${profile.price} / h` : ''
  ].filter(part => part);
  return parts.length ? `${profile.name} (${parts.join(', ')})` : profile.name;
}

function Place(props: {
  form: IForm;
  edit: (form: IForm) => void;
  project: Overview;
}): JSX.Element | null {
  const { form, edit, project } = props;
  const trans = useWords();
  if (!project.profiles.length) {
    return null;
  }
  const own = project.profiles.find(one => one.is_default)?.name ?? '';
  return (
    <Field
      id="mlops-profile"
      label={trans.__('Profile on Kubeflow')}
      help={trans.__('What a pod there is given, and its price where it is known.')}
    >
      <select
        id="mlops-profile"
        className="mlops-Input"
        aria-describedby="mlops-profile-help"
        value={form.profile || own}
        onChange={event => edit({ ...form, profile: event.target.value })}
      >
        {!own && <option value="">{trans.__('none')}</option>}
        {project.profiles.map(profile => (
          <option key={profile.name} value={profile.name}>
            {profileText(profile)}
          </option>
        ))}
      </select>
    </Field>
  );
}

function SweepForm(props: {
  model: Model;
  notebook: Notebook;
  submit: (ask: () => Promise<Run | null>) => Promise<void>;
}): JSX.Element {
  const { model, notebook, submit } = props;
  const trans = useWords();
  const [values, setValues] = React.useState<Record<string, string>>({});
  const [best, setBest] = React.useState('');
  const [parallel, setParallel] = React.useState('1');
  const start = (on: string) =>
    submit(async () => {
      const words = request({ ...model.form, on }, notebook);
      const told = Object.fromEntries(
        Object.entries(values).filter(([, text]) => text.trim())
      );
      const document = await model.ask('sweep', {
        notebook: model.front.path,
        ...words,
        parameters: { ...words.parameters, ...told },
        best: best.trim(),
        parallel: Number(parallel) || 1
      });
      return (
        'children' in document && Array.isArray(document.children)
          ? (document as { run: Run }).run
          : document
      ) as Run;
    });
  return (
    <fieldset className="mlops-Section">
      <legend>{trans.__('Sweep')}</legend>
      <div className="mlops-Field-help">
        {trans.__(
          '0.1,0.01 lists values, 2..8 counts; what stays empty has the value of the form.'
        )}
      </div>
      {notebook.parameters.map(parameter => {
        const id = `mlops-sweep-${parameter.name}`;
        return (
          <TextField
            key={id}
            id={id}
            label={parameter.name}
            placeholder={model.form.parameters[parameter.name] ?? defaultText(parameter)}
            value={values[parameter.name] ?? ''}
            set={text => setValues({ ...values, [parameter.name]: text })}
          />
        );
      })}
      <div className="mlops-Row">
        <TextField
          id="mlops-sweep-best"
          label={trans.__('Best by')}
          placeholder="max:accuracy"
          value={best}
          set={setBest}
        />
        <TextField
          id="mlops-sweep-parallel"
          label={trans.__('At once')}
          number={{ min: 1 }}
          value={parallel}
          set={setParallel}
        />
      </div>
      <div className="mlops-Actions">
        <Doing
          tone="accept"
          label={trans.__('Start the sweep')}
          act={() => start('local')}
        />
        {model.project.data?.kubeflow && (
          <Doing label={trans.__('Start it on Kubeflow')} act={() => start('kubeflow')} />
        )}
      </div>
    </fieldset>
  );
}

function ScheduleForm(props: { model: Model; notebook: Notebook }): JSX.Element {
  const { model, notebook } = props;
  const trans = useWords();
  const [cron, setCron] = React.useState('0 3 * * 1');
  const [name, setName] = React.useState('');
  return (
    <fieldset className="mlops-Section">
      <legend>{trans.__('Schedule')}</legend>
      <TextField
        id="mlops-cron"
        label={trans.__('When, as in a crontab')}
        help={trans.__('minute hour day month weekday: 0 3 * * 1 is Mondays at 3')}
        value={cron}
        set={setCron}
      />
      <TextField
        id="mlops-schedule-name"
        label={trans.__('Name')}
        placeholder={base(model.front.path).replace('.ipynb', '')}
        value={name}
        set={setName}
      />
      <Doing
        tone="accept"
        label={trans.__('Schedule on Kubeflow')}
        act={async () => {
          const words = request({ ...model.form, on: 'kubeflow' }, notebook);
          const made = await model.ask('schedule', {
            notebook: model.front.path,
            ...words,
            ...afterwards(model.form),
            cron,
            name: name.trim()
          });
          model.show('runs');
          model.say(trans.__('%1 is scheduled: %2', made.name, made.when));
        }}
      />
    </fieldset>
  );
}
