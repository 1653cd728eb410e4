/** What the panel shows, and who keeps it true; every view shares one. */
import { Event, ServiceManager } from '@jupyterlab/services';
import { IStateDB } from '@jupyterlab/statedb';
import { Debouncer, Poll } from '@lumino/polling';
import { ISignal, Signal } from '@lumino/signaling';

import { asRefusal, Fields, IApi, Refusal } from './api';
import { EMPTY, IForm } from './form';
import {
  Deployed,
  Deployment,
  Documents,
  MlopsEvent,
  ModelVersion,
  Notebook,
  Numbered,
  Overview,
  Probe,
  Run,
  Scheduled,
  Status,
  SweepResult,
  Verbs
} from './generated/documents';
import {
  advance,
  FINAL,
  missed,
  refreshed,
  trail,
  Trails,
  withPage,
  withRun,
  withStatus
} from './reducer';

export const SCHEMA = 'https://mlops-nb.dev/schemas/event/v1';
const PAGE = 50;
const SLOWLY = 60_000;

/** Something that is asked for: what is known of it, and why no more is. */
export interface IAsked<T> {
  data: T | null;
  error: Refusal | null;
  loading: boolean;
}

const NOTHING = { data: null, error: null, loading: false };

export type Tab = 'run' | 'runs' | 'models' | 'deployments' | 'setup';

export interface IFilter {
  all: boolean;
  state: string;
}

export interface IRuns {
  runs: Run[];
  next: string;
}

/** A deployment or a return that is looked at before it is proposed. */
export interface IProposal {
  action: 'deploy' | 'rollback';
  model: string;
  environment: string;
  canary: string;
  to: number;
  reason: string;
  preview: IAsked<Deployment>;
}

export interface IFrontNotebook {
  readonly path: string;
  readonly isDirty: boolean;
  readonly canTag: boolean;
  readonly changed: ISignal<unknown, void>;
  save(): Promise<void>;
  tagCell(): Promise<void>;
}

export class Model {
  tab: Tab = 'run';
  project: IAsked<Overview> = NOTHING;
  notebook: IAsked<Notebook> = NOTHING;
  form: IForm = EMPTY;
  runs: IAsked<IRuns> = NOTHING;
  filter: IFilter = { all: false, state: '' };
  /** Runs that are ticked, to be compared or stopped together. */
  ticked: ReadonlySet<string> = new Set();
  /** The run that is looked at; null shows the list. */
  run: IAsked<Run | SweepResult> & { id: string } = { ...NOTHING, id: '' };
  log: IAsked<string[]> = NOTHING;
  compared: IAsked<Run[]> = NOTHING;
  schedules: IAsked<Scheduled[]> = NOTHING;
  models: IAsked<ModelVersion[]> = NOTHING;
  statuses: IAsked<Status[]> = NOTHING;
  history: IAsked<Deployed[]> = NOTHING;
  probes: IAsked<Probe[]> = NOTHING;
  /** What is about to be proposed; nothing is written before the person agrees. */
  proposal: IProposal | null = null;
  trails: Trails = {};
  /** What a person should know of the last thing that was done. */
  said: string[] = [];
  offline = false;

  constructor(
    readonly api: IApi,
    readonly front: IFrontNotebook,
    private state: IStateDB | null,
    events: Event.IManager | null
  ) {
    this.lastFront = this.lastPath = front.path;
    events?.stream.connect(this.onEvent, this);
    front.changed.connect(this.onFront, this);
    this.poll = new Poll({
      auto: true,
      name: 'mlops-nb:look-again',
      factory: () => this.lookAgain(),
      frequency: { interval: SLOWLY, backoff: true },
      standby: 'when-hidden'
    });
    this.keep = new Debouncer(() => this.keepForm(), 400);
  }

  static of(
    api: IApi,
    front: IFrontNotebook,
    state: IStateDB | null,
    manager: ServiceManager.IManager
  ): Model {
    return new Model(api, front, state, manager.events);
  }

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  /** Path that says which project is meant: the notebook in front, else what was before. */
  get path(): string {
    return this.front.path || this.lastPath;
  }

  dispose(): void {
    this.poll.dispose();
    this.keep.dispose();
    Signal.clearData(this);
  }

  show(tab: Tab): void {
    this.tab = tab;
    this.said = [];
    this.tell();
    void this.fill();
  }

  /** Read what the open view needs and does not have. */
  async fill(): Promise<void> {
    if (!this.project.data && !this.project.loading) {
      await this.readProject();
    }
    switch (this.tab) {
      case 'run':
        if (!this.notebook.data && this.front.path) {
          await this.readNotebook();
        }
        break;
      case 'runs':
        await Promise.all([this.readRuns(), this.readSchedules()]);
        break;
      case 'models':
        await this.readModels();
        break;
      case 'deployments':
        await Promise.all([this.readStatuses(), this.readHistory()]);
        break;
      case 'setup':
        break;
    }
  }

  async readProject(): Promise<void> {
    await this.into('project', async () => {
      const found = await this.api.project(this.path);
      this.seen = { boot: found.boot, number: found.number };
      return found;
    });
  }

  async readNotebook(): Promise<void> {
    const path = this.front.path;
    if (!path) {
      this.notebook = NOTHING;
      this.tell();
      return;
    }
    await this.into('notebook', async () => {
      const found = await this.ask('inspect', { notebook: path });
      if (this.formOf !== path) {
        // Saving the notebook, or looking at it again, must not lose what was filled in.
        const kept = await this.keptForm(path);
        if (this.formOf !== path && this.front.path === path) {
          this.form = kept ?? EMPTY;
          this.formOf = path;
        }
      }
      return found;
    });
  }

  async readRuns(): Promise<void> {
    await this.into('runs', async () => {
      const page = await this.ask('runs', { ...this.wanted(), limit: PAGE });
      const before = this.runs.data?.runs ?? [];
      const runs = refreshed(before, page.runs, !page.next);
      const kept = runs.length > page.runs.length;
      return { runs, next: kept ? (this.runs.data?.next ?? '') : page.next };
    });
  }

  /** Read the next page of older runs. */
  async moreRuns(): Promise<void> {
    const now = this.runs.data;
    if (!now?.next || this.runs.loading) {
      return;
    }
    await this.into('runs', async () => {
      const page = await this.ask('runs', {
        ...this.wanted(),
        limit: PAGE,
        after: now.next
      });
      return { runs: withPage(now.runs, page.runs), next: page.next };
    });
  }

  setFilter(filter: Partial<IFilter>): void {
    this.filter = { ...this.filter, ...filter };
    this.runs = NOTHING;
    this.ticked = new Set();
    this.tell();
    void this.readRuns();
  }

  tick(id: string): void {
    const ticked = new Set(this.ticked);
    if (!ticked.delete(id)) {
      ticked.add(id);
    }
    this.ticked = ticked;
    this.tell();
  }

  async readSchedules(): Promise<void> {
    if (!this.project.data?.kubeflow) {
      return;
    }
    await this.into('schedules', async () => (await this.ask('schedules', {})).schedules);
  }

  /** Look at a run; empty goes back to the list. */
  async look(id: string): Promise<void> {
    this.run = { ...NOTHING, id };
    this.log = NOTHING;
    this.compared = NOTHING;
    this.tell();
    if (id) {
      this.tab = 'runs';
      await this.readRun();
    } else if (!this.runs.data) {
      await this.readRuns();
    }
  }

  async readRun(): Promise<void> {
    const id = this.run.id;
    this.run = { ...this.run, loading: true };
    this.tell();
    try {
      const found = await this.ask('show', { run: id });
      if (this.run.id === id) {
        this.run = { ...NOTHING, id, data: found as Run | SweepResult };
      }
    } catch (error) {
      if (this.run.id === id) {
        this.run = { ...this.run, loading: false, error: this.refused(error) };
      }
    }
    this.tell();
  }

  async readLog(): Promise<void> {
    const id = this.run.id;
    await this.into('log', async () => (await this.ask('logs', { run: id })).lines);
  }

  async compare(): Promise<void> {
    const runs = [...this.ticked];
    await this.into('compared', async () => (await this.ask('compare', { runs })).runs);
  }

  closeComparison(): void {
    this.compared = NOTHING;
    this.tell();
  }

  async readModels(): Promise<void> {
    await this.into('models', async () => (await this.ask('models', {})).versions);
  }

  async readStatuses(): Promise<void> {
    if (!this.project.data?.forge) {
      return;
    }
    await this.into(
      'statuses',
      async () => (await this.ask('status', { watch: true })).statuses
    );
  }

  async readHistory(): Promise<void> {
    if (!this.project.data?.forge) {
      return;
    }
    await this.into(
      'history',
      async () => (await this.ask('history', { limit: 50 })).deployments
    );
  }

  /** Begin to propose a version, `name/version`, or a return of a model. */
  propose(model: string, back?: { environment: string }): void {
    const environments = this.project.data?.environments ?? [];
    this.proposal = {
      action: back ? 'rollback' : 'deploy',
      model,
      environment: back?.environment ?? environments[0]?.name ?? '',
      canary: '',
      to: 0,
      reason: '',
      preview: NOTHING
    };
    this.run = { ...NOTHING, id: '' };
    this.show('deployments');
    if (this.proposal.environment) {
      void this.preview();
    }
  }

  editProposal(part: Partial<IProposal>): void {
    if (this.proposal) {
      this.proposal = { ...this.proposal, ...part };
      this.tell();
    }
  }

  closeProposal(): void {
    this.proposal = null;
    this.tell();
  }

  /** Show what a proposal would change, and what speaks for it. */
  async preview(): Promise<void> {
    const wanted = this.proposal;
    if (!wanted) {
      return;
    }
    this.editProposal({ preview: { ...NOTHING, loading: true } });
    let preview: IAsked<Deployment>;
    try {
      preview = { ...NOTHING, data: await this.askFor(wanted, true) };
    } catch (error) {
      preview = { ...NOTHING, error: this.refused(error) };
    }
    if (this.proposal?.action === wanted.action && this.proposal.model === wanted.model) {
      this.editProposal({ preview });
    }
  }

  /** Open the pull request. */
  async openPull(): Promise<void> {
    if (!this.proposal) {
      return;
    }
    const found = await this.askFor(this.proposal, false);
    this.proposal = null;
    const pull = found.pull_request;
    this.say(...(pull ? [`#${pull.number}: ${pull.title}`, ...pull.notes] : []));
    await this.readStatuses();
  }

  private askFor(wanted: IProposal, dry: boolean): Promise<Deployment> {
    if (wanted.action === 'deploy') {
      return this.ask('deploy', {
        model: wanted.model,
        to: wanted.environment,
        canary: wanted.canary.trim() || null,
        dry_run: dry
      });
    }
    return this.ask('rollback', {
      model: wanted.model,
      env: wanted.environment,
      to: wanted.to,
      reason: wanted.reason,
      dry_run: dry
    });
  }

  /** Merge a pull request, and show what became of it. */
  async merge(number: number): Promise<void> {
    const merged = await this.ask('merge', { number });
    const alias = merged.alias ? `, ${merged.model}@${merged.alias}` : '';
    this.say(
      `#${number}: ${merged.model}/${merged.version} → ${merged.environment}${alias}`
    );
    await Promise.all([this.readStatuses(), this.readHistory()]);
  }

  /** Delete runs that ended. */
  async remove(runs: string[]): Promise<void> {
    const done = await this.ask('delete', { runs });
    this.ticked = new Set();
    if (this.runs.data) {
      const left = this.runs.data.runs.filter(run => !done.runs.includes(run.id));
      this.runs = { ...this.runs, data: { ...this.runs.data, runs: left } };
    }
    this.say(...done.lost);
    await this.readRuns();
  }

  async diagnose(): Promise<void> {
    await this.into('probes', async () => (await this.ask('doctor', {})).probes);
  }

  async initialize(): Promise<void> {
    await this.ask('init', {});
    this.project = NOTHING;
    await this.readProject();
  }

  /** Do a verb; what is to be said of it is shown above the views. */
  async ask<V extends keyof Documents & keyof Verbs>(
    verb: V,
    fields: Fields<V>
  ): Promise<Documents[V]> {
    const { document, notes } = await this.api.ask(verb, fields, this.path);
    if (notes.length) {
      this.said = notes;
    }
    this.setOffline(false);
    return document;
  }

  /** Take a run that was just started, or changed by a verb. */
  take(run: Run): void {
    const data = this.runs.data ?? { runs: [], next: '' };
    this.runs = { ...this.runs, data: { ...data, runs: withRun(data.runs, run) } };
    const shown = this.run.data;
    if (shown && this.run.id === run.id) {
      this.run = { ...this.run, data: 'run' in shown ? { ...shown, run } : run };
    }
    this.tell();
  }

  takeStatus(status: Status): void {
    const data = withStatus(this.statuses.data ?? [], status);
    this.statuses = { ...this.statuses, data };
    this.tell();
  }

  edit(form: IForm): void {
    this.form = form;
    this.tell();
    void this.keep.invoke();
  }

  say(...said: string[]): void {
    this.said = said;
    this.tell();
  }

  private wanted(): { notebook: string; state: string } {
    const notebook = this.filter.all ? '' : this.front.path;
    return { notebook, state: this.filter.state };
  }

  private async into<K extends Asked>(
    key: K,
    read: () => Promise<NonNullable<Model[K]['data']>>
  ): Promise<void> {
    const slot = this as unknown as Record<K, IAsked<unknown>>;
    const order = (this.order[key] = (this.order[key] ?? 0) + 1);
    slot[key] = { ...slot[key], loading: true };
    this.tell();
    try {
      const data = await read();
      if (this.order[key] === order) {
        slot[key] = { data, error: null, loading: false };
      }
    } catch (error) {
      if (this.order[key] === order) {
        slot[key] = { ...slot[key], loading: false, error: this.refused(error) };
      }
    }
    this.tell();
  }

  private refused(error: unknown): Refusal {
    const refusal = asRefusal(error);
    this.setOffline(refusal.offline);
    return refusal;
  }

  private setOffline(offline: boolean): void {
    if (this.offline !== offline) {
      this.offline = offline;
      this.tell();
    }
  }

  private onFront(): void {
    const path = this.front.path;
    const folder = (of: string) => of.slice(0, of.lastIndexOf('/') + 1);
    if (path && folder(path) !== folder(this.lastPath)) {
      this.forget();
    }
    if (path !== this.lastFront) {
      this.lastFront = path;
      this.form = EMPTY;
      this.formOf = '';
      this.notebook = NOTHING;
      if (!this.filter.all) {
        this.runs = NOTHING;
      }
    }
    if (path) {
      this.lastPath = path;
      void this.readNotebook();
    }
    this.tell();
    void this.fill();
  }

  /** Another folder may be another project. */
  private forget(): void {
    this.project = NOTHING;
    this.runs = NOTHING;
    this.schedules = NOTHING;
    this.models = NOTHING;
    this.statuses = NOTHING;
    this.history = NOTHING;
    this.probes = NOTHING;
    this.run = { ...NOTHING, id: '' };
    this.seen = null;
  }

  private onEvent(_: unknown, emission: Event.Emission): void {
    if (emission.schema_id !== SCHEMA) {
      return;
    }
    const told = emission as unknown as Numbered;
    const gap = missed(this.seen, told);
    this.seen = { boot: told.boot, number: told.number };
    if (told.project === this.project.data?.folder) {
      this.apply(told.event);
    }
    if (gap) {
      void this.poll.refresh();
    }
  }

  /** Bring what is shown up to date with what happened. */
  apply(event: MlopsEvent): void {
    this.trails = trail(this.trails, event);
    if (event.kind === 'rollout_moved') {
      if (this.statuses.data) {
        this.takeStatus(event.status);
      }
      return;
    }
    if (!('run' in event)) {
      this.say(event.text);
      return;
    }
    const data = this.runs.data;
    if (data?.runs.some(run => run.id === event.run)) {
      const runs = data.runs.map(run => advance(run, event));
      this.runs = { ...this.runs, data: { ...data, runs } };
    } else if (data && event.kind === 'run_moved') {
      // Somebody else started it, or another window did.
      void this.readRuns();
    }
    const shown = this.run.data;
    if (shown && 'run' in shown) {
      if (shown.run.id === event.run || shown.children.some(c => c.id === event.run)) {
        const children = shown.children.map(run => advance(run, event));
        this.run = {
          ...this.run,
          data: { ...shown, run: advance(shown.run, event), children }
        };
      }
    } else if (shown) {
      this.run = { ...this.run, data: advance(shown, event) };
    }
    if (
      event.kind === 'run_moved' &&
      FINAL.has(event.state) &&
      this.run.id === event.run
    ) {
      // Defaults, data and commit are known once it is recorded.
      void this.readRun();
    }
    this.tell();
  }

  /** What may have been missed is read again: slowly by the clock, at once after a gap. */
  private async lookAgain(): Promise<void> {
    if (!this.path && !this.project.data) {
      return;
    }
    try {
      const found = await this.api.project(this.path);
      this.setOffline(false);
      const stale = missed(this.seen, { ...found, number: found.number + 1 });
      this.seen = { boot: found.boot, number: found.number };
      this.project = { data: found, error: null, loading: false };
      if (!stale && this.tab !== 'deployments') {
        return;
      }
    } catch (error) {
      this.refused(error);
      throw error;
    }
    await this.fill();
    if (this.run.id) {
      await this.readRun();
    }
  }

  private async keepForm(): Promise<void> {
    if (this.state && this.lastFront) {
      await this.state.save(key(this.lastFront), JSON.parse(JSON.stringify(this.form)));
    }
  }

  private async keptForm(path: string): Promise<IForm | null> {
    const kept = (await this.state?.fetch(key(path))) as unknown;
    return kept ? { ...EMPTY, ...(kept as IForm) } : null;
  }

  private tell(): void {
    this._changed.emit();
  }

  private poll: Poll;
  private keep: Debouncer;
  private lastPath = '';
  private lastFront = '';
  private formOf = '';
  private seen: { boot: string; number: number } | null = null;
  private order: Partial<Record<Asked, number>> = {};
  private _changed = new Signal<this, void>(this);
}

type Asked =
  | 'project'
  | 'notebook'
  | 'runs'
  | 'log'
  | 'compared'
  | 'schedules'
  | 'models'
  | 'statuses'
  | 'history'
  | 'probes';

function key(path: string): string {
  return `mlops-nb:form:${path}`;
}
