/** The notebook that is in front, as the server's contents manager names it. */
import { JupyterFrontEnd } from '@jupyterlab/application';
import { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import { ISignal, Signal } from '@lumino/signaling';

const TAG = 'parameters';

export class FrontNotebook {
  constructor(
    private app: JupyterFrontEnd,
    private tracker: INotebookTracker
  ) {
    tracker.currentChanged.connect(this.follow, this);
    this.follow();
  }

  /** Another notebook is in front, or this one was renamed or saved. */
  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get panel(): NotebookPanel | null {
    return this.tracker.currentWidget;
  }

  /** Its path below the folder that JupyterLab shows; empty if there is none. */
  get path(): string {
    const path = this.panel?.context.path ?? '';
    // Shared documents have a drive of their own before the path.
    return path ? this.app.serviceManager.contents.localPath(path) : '';
  }

  get isDirty(): boolean {
    return this.panel?.context.model.dirty ?? false;
  }

  async save(): Promise<void> {
    await this.panel?.context.save();
  }

  /** Whether the active cell is one that can hold the parameters. */
  get canTag(): boolean {
    return this.panel?.content.activeCell?.model.type === 'code';
  }

  /** Tag the active cell as the one with the parameters, and no other; save. */
  async tagCell(): Promise<void> {
    const cells = this.panel?.content.widgets ?? [];
    const active = this.panel?.content.activeCell;
    for (const cell of cells) {
      const tags = (cell.model.getMetadata('tags') as string[]) ?? [];
      const others = tags.filter(tag => tag !== TAG);
      if (cell === active) {
        cell.model.setMetadata('tags', [...others, TAG]);
      } else if (others.length !== tags.length) {
        cell.model.setMetadata('tags', others);
      }
    }
    await this.save();
  }

  private follow(): void {
    const panel = this.tracker.currentWidget;
    if (this.followed !== panel) {
      const before = this.followed?.context;
      if (before && !before.isDisposed) {
        before.pathChanged.disconnect(this.tell, this);
        before.saveState.disconnect(this.saved, this);
      }
      this.followed = panel;
      panel?.context.pathChanged.connect(this.tell, this);
      panel?.context.saveState.connect(this.saved, this);
    }
    this.tell();
  }

  private saved(_: unknown, state: string): void {
    if (state === 'completed') {
      this.tell();
    }
  }

  private tell(): void {
    this._changed.emit();
  }

  private followed: NotebookPanel | null = null;
  private _changed = new Signal<this, void>(this);
}
